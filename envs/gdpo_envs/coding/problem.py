"""A programming task and its tests, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypedDict

from gdpo_bench.core import Task
from gdpo_envs import python_source
from gdpo_envs.coding.comparison import matches
from gdpo_envs.loading import UnusableRowError

MAX_OUTPUT = 1 << 24
"""Characters that a test may expect: what a program may write, and so a container's memory, follow from it."""


class Case(TypedDict):
    """One test."""

    input: str
    """Standard input, or the tuple of arguments as a Python literal."""
    output: str
    """What is expected on standard output, or the returned value as a Python literal."""
    rule: str
    """How both are compared: see `gdpo_envs.coding.comparison`."""


@dataclass(frozen=True)
class CodeTask(Task):
    """One problem.

    Raises:
        UnusableRowError: A test expects more than `MAX_OUTPUT`.
    """

    mode: Literal["stdio", "call"]
    """Whether a whole program is asked for, or a function."""
    entry: str | None
    """Name of the function, or of the method of the class `Solution`; None for `stdio`."""
    preamble: str
    """Source that comes before every program: the imports and helpers that the problem promises."""
    tests: list[Case]
    """All of them, at least one; one that is given twice stays once."""
    limit: int
    """Characters that a reply may have to be short."""
    solution: str | None = None
    """A program that is known to be right."""

    def __post_init__(self) -> None:
        distinct = {(case["input"], case["output"], case["rule"]): case for case in self.tests}
        object.__setattr__(self, "tests", list(distinct.values()))
        longest = max((len(case["output"]) for case in self.tests), default=0)
        if longest > MAX_OUTPUT:
            raise UnusableRowError(f"a test expects {longest} characters; at most {MAX_OUTPUT} can be scored")


def call_case(arguments: tuple[Any, ...], expected: Any, rule: str) -> Case:
    """The test that a function returns the expected value.

    Raises:
        UnusableRowError: A value that cannot be written as a literal.
    """
    return Case(input=_literal_text(arguments), output=_literal_text(expected), rule=rule)


def passes(case: Case, mode: str, answer: Any) -> bool:
    """Whether the text that a program wrote, or the value that it returned, is what the test expects."""
    expected = case["output"] if mode == "stdio" else literal(case["output"])
    return matches(case["rule"], answer, expected)


@lru_cache(maxsize=4096)
def literal(text: str) -> Any:
    """The value of a Python literal; not to be changed."""
    return python_source.literal(text)


def _literal_text(value: Any) -> str:
    try:
        text = _written(value)
        if matches("exact", python_source.literal(text), value):
            return text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass  # infinite, of thousands of digits, or too deep
    raise UnusableRowError(f"a test holds a {type(value).__name__} that cannot be written as a Python literal")


def _written(value: Any) -> str:
    """As `repr`, but sets in an order that is the same in every process, as the task's id must be."""
    if isinstance(value, set) and value:
        return f"{{{', '.join(sorted(map(_written, value)))}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_written, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_written(key)}: {_written(item)}' for key, item in value.items())}}}"
    return repr(value)
