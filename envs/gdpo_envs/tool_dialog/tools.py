"""The tools: each is a typed set of parameters and what it does to the shop."""

from __future__ import annotations

import ast
import json
import math
import operator
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gdpo_envs import python_source
from gdpo_envs.tool_dialog.shop import Event, Shop, ToolError

Day = Literal["mon", "tue", "wed", "thu", "fri"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")
_FILES, _CHARACTERS, _EVENTS = 20, 2000, 50
"""What a shop holds at most."""

_FACTORS = {"km": 1000.0, "mi": 1609.344, "m": 1.0, "ft": 0.3048, "kg": 1.0, "lb": 0.45359237}
_KINDS = ({"km", "mi", "m", "ft"}, {"kg", "lb"})
Unit = Literal["km", "mi", "m", "ft", "kg", "lb"]


class Tool(BaseModel):
    """Base of all tools. Fields are the parameters; the docstring is shown to the policy."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    def _run(self, shop: Shop) -> Any:
        """Do it; returns something JSON-able, or raises `ToolError`."""
        raise NotImplementedError


class Sql(Tool):
    """Run one SQL statement on the tables products(name, price, stock) and orders(customer, product, quantity)."""

    statement: str

    def _run(self, shop: Shop) -> Any:
        return shop.query(self.statement)


class Calculate(Tool):
    """Work out an arithmetic expression of numbers, + - * / // % ** and parentheses."""

    expression: str = Field(max_length=200)

    def _run(self, shop: Shop) -> Any:
        return calculate(self.expression)


class Convert(Tool):
    """Convert a length or a weight to another unit; the result has two decimals."""

    value: float = Field(allow_inf_nan=False)
    source: Unit
    target: Unit

    def _run(self, shop: Shop) -> Any:
        if not any({self.source, self.target} <= kind for kind in _KINDS):
            raise ToolError(f"{self.source} cannot be converted to {self.target}")
        return round(self.value * _FACTORS[self.source] / _FACTORS[self.target], 2)


class ListEvents(Tool):
    """The calendar's events of a day, as [hour, title], by hour."""

    day: Day

    def _run(self, shop: Shop) -> Any:
        return sorted([event["hour"], event["title"]] for event in shop.events if event["day"] == self.day)


class AddEvent(Tool):
    """Add an event of one hour to the calendar."""

    title: str = Field(min_length=1, max_length=100)
    day: Day
    hour: int = Field(ge=8, le=18)

    def _run(self, shop: Shop) -> Any:
        if len(shop.events) >= _EVENTS:
            raise ToolError("the calendar is full")
        for event in shop.events:
            if (event["day"], event["hour"]) == (self.day, self.hour):
                raise ToolError(f"{event['title']} is on {self.day} at {self.hour} already")
        shop.events.append(Event(title=self.title, day=self.day, hour=self.hour))
        return "added"


class RemoveEvent(Tool):
    """Remove an event from the calendar."""

    title: str

    def _run(self, shop: Shop) -> Any:
        for event in shop.events:
            if event["title"] == self.title:
                shop.events.remove(event)
                return "removed"
        raise ToolError(f"there is no event {self.title:.60}")


class ReadFile(Tool):
    """The contents of a file."""

    name: str

    def _run(self, shop: Shop) -> Any:
        if self.name not in shop.files:
            raise ToolError(f"there is no file {self.name:.60}; there are {', '.join(sorted(shop.files)) or 'none'}")
        return shop.files[self.name]


class WriteFile(Tool):
    """Write a file, in place of one of that name."""

    name: str = Field(min_length=1, max_length=100)
    text: str = Field(max_length=_CHARACTERS)

    def _run(self, shop: Shop) -> Any:
        if self.name not in shop.files and len(shop.files) >= _FILES:
            raise ToolError("the file store is full")
        shop.files[self.name] = self.text
        return "written"


TOOLS: dict[str, type[Tool]] = {
    "sql": Sql,
    "calculate": Calculate,
    "convert": Convert,
    "list_events": ListEvents,
    "add_event": AddEvent,
    "remove_event": RemoveEvent,
    "read_file": ReadFile,
    "write_file": WriteFile,
}


def execute(shop: Shop, name: str, parameters: dict[str, Any]) -> Any:
    """Run a tool.

    Args:
        shop: What it works on.
        name: Of the tool.
        parameters: As parsed from JSON.

    Returns:
        Its result, JSON-able.

    Raises:
        ToolError: There is no such tool, the parameters are not its own, or it cannot do it.
    """
    if name not in TOOLS:
        raise ToolError(f"there is no tool {name:.60}; there are {', '.join(TOOLS)}")
    try:
        tool = TOOLS[name].model_validate(parameters)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()[:3])
        raise ToolError(f"{name}: {'; '.join(problems)}") from error
    return tool._run(shop)


def signatures() -> str:
    """All tools as JSON Schema, one a line."""
    lines = []
    for name, tool in TOOLS.items():
        schema = tool.model_json_schema()
        parameters = {key: schema[key] for key in ("type", "properties", "required")}
        lines.append(json.dumps({"name": name, "description": schema["description"], "parameters": parameters}))
    return "\n".join(lines)


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # never builds a huge integer
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def calculate(expression: str) -> float:
    """The value of an arithmetic expression; a whole number comes as an integer.

    Raises:
        ToolError: It is no such expression, or has no finite value.
    """
    try:
        value = _value(python_source.expression(expression.strip()))
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ToolError(f"calculate: {error}") from error
    if not math.isfinite(value):
        raise ToolError("calculate: the value is not finite")
    return int(value) if value == int(value) else round(value, 6)


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op, operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
    raise ValueError("only numbers, + - * / // % ** and parentheses are allowed")
