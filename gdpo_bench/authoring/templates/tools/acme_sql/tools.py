"""The tools that a policy may call. What it is shown of them follows from their signatures.

A further tool is a further public method of `Tools`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError, validate_call

Row = tuple[str, int]

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
_FUNCTIONS = {"avg", "count", "like", "lower", "max", "min", "sum", "total", "upper"}
_MAX_ROWS = 10
_MAX_BYTES = 10_000
_MAX_INSTRUCTIONS = 100_000


class ToolError(Exception):
    """A call that cannot be carried out; the policy reads why."""


class Tools:
    """A shop's stock in a database, and what may be done with it."""

    def __init__(self, stock: Sequence[Row]) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.execute("CREATE TABLE stock (item TEXT, price INTEGER)")
        self._database.executemany("INSERT INTO stock VALUES (?, ?)", stock)
        # Whatever a policy writes is run: let it read this table, a little and not for long.
        self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_BYTES)
        self._database.set_progress_handler(lambda: 1, _MAX_INSTRUCTIONS)
        self._database.set_authorizer(_authorize)

    def query(self, sql: str) -> list[Any]:
        """Run a SELECT on the table stock(item, price)."""
        try:
            return self._database.execute(sql).fetchmany(_MAX_ROWS)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:  # ValueError: no valid text
            raise ToolError(str(error)) from error


def _authorize(action: int, _: str | None, function: str | None, *__: str | None) -> int:
    may = action in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and function in _FUNCTIONS)
    return sqlite3.SQLITE_OK if may else sqlite3.SQLITE_DENY


def signatures() -> list[dict[str, Any]]:
    """Name, description and parameters of each tool, as JSON Schema."""
    return [
        {
            "name": name,
            "description": tool.__doc__,
            "parameters": TypeAdapter(tool).json_schema(),
        }
        for name, tool in _tools([]).items()
    ]


def call(stock: Sequence[Row], request: str) -> str:
    """Carry out a call.

    Args:
        stock: The rows of the database.
        request: Such as `{"name": "query", "arguments": {"sql": "SELECT …"}}`.

    Returns:
        The result, as JSON.

    Raises:
        ToolError: That is no call, or it cannot be carried out.
    """
    try:
        asked = json.loads(request)
        tool, arguments = _tools(stock)[asked["name"]], asked["arguments"]
        return json.dumps(validate_call(tool)(**arguments))
    except ValidationError as error:
        raise ToolError(f"{error.errors()[0]['msg']}: {error.errors()[0]['loc']}") from error
    except (ValueError, RecursionError) as error:
        raise ToolError("not JSON") from error
    except (KeyError, TypeError) as error:
        raise ToolError('expected {"name": a tool, "arguments": {…}}') from error


def _tools(stock: Sequence[Row]) -> dict[str, Any]:
    tools = Tools(stock)
    return {name: getattr(tools, name) for name in vars(Tools) if not name.startswith("_")}
