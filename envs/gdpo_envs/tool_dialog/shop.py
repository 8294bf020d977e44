"""What the tools work on: a shop's database, a calendar and a file store, one of each for every episode.

Everything is bounded and deterministic, whatever a policy asks for: the database refuses what would read the clock,
draw random numbers, or reach outside of memory, and gives up after a fixed number of its own steps.
"""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict

TABLES = {"products": "name TEXT PRIMARY KEY, price INTEGER, stock INTEGER", "orders": "customer, product, quantity"}
"""Table → columns."""
ROWS_SHOWN = 20
_STEPS = 200_000
"""Instructions of its virtual machine that a statement may take."""
_BYTES = 100_000
"""Longest text or blob in the database, and longest statement."""
_PAGES = 1000
_REFUSED_ACTIONS = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_CREATE_VTABLE,
}
_REFUSED_FUNCTIONS = frozenset(
    (
        *("random", "randomblob", "load_extension", "sqlite_version", "sqlite_source_id"),
        *("date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"),
        *("current_date", "current_time", "current_timestamp"),
    )
)


class Event(TypedDict):
    """An entry of the calendar, an hour long."""

    title: str
    day: str
    hour: int


class ToolError(Exception):
    """What a tool answers when it cannot do what it was asked."""


@dataclass
class Shop:
    """The state of one episode."""

    tables: Mapping[str, Sequence[Sequence[Any]]]
    """Table → rows at the beginning."""
    events: list[Event] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, contents: Mapping[str, Any]) -> Shop:
        """A world with contents as a task holds them; they stay as they are."""
        return cls(contents["tables"], copy.deepcopy(contents["events"]), dict(contents["files"]))

    @cached_property
    def _database(self) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:", isolation_level=None)
        database.execute(f"PRAGMA max_page_count = {_PAGES}")
        for name, columns in TABLES.items():
            database.execute(f"CREATE TABLE {name} ({columns})")
            marks = ", ".join("?" * (columns.count(",") + 1))
            database.executemany(f"INSERT INTO {name} VALUES ({marks})", self.tables[name])
        database.set_authorizer(_authorize)
        database.set_progress_handler(lambda: 1, _STEPS)
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _BYTES)
        database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _BYTES)
        return database

    def query(self, statement: str) -> list[list[Any]] | str:
        """Run one SQL statement.

        Returns:
            The rows, at most `ROWS_SHOWN` of them; or how many were changed.

        Raises:
            ToolError: The statement is wrong, forbidden, or takes too long.
        """
        try:
            cursor = self._database.execute(statement)
            if cursor.description is None:
                return f"{max(cursor.rowcount, 0)} rows changed"
            rows = cursor.fetchmany(ROWS_SHOWN)
        except (sqlite3.Error, sqlite3.Warning, UnicodeError, MemoryError) as error:
            raise ToolError(f"SQL: {error}") from error
        return [[_shown(value) for value in row] for row in rows]

    def snapshot(self) -> dict[str, Any]:
        """Everything there is, in a form that is equal whenever it means the same."""
        return {
            "tables": self._rows()
            if "_database" in vars(self)
            else {name: _sorted(self.tables[name]) for name in TABLES},
            "events": sorted((event["day"], event["hour"], event["title"]) for event in self.events),
            "files": {name: _meaning(text) for name, text in self.files.items()},
        }

    def _rows(self) -> dict[str, list[tuple[Any, ...]]] | None:
        """Rows of all tables; None if a policy has made them too large to read."""
        database = self._database
        if database.in_transaction:
            database.rollback()  # what was never committed has not happened
        try:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: _sorted(database.execute(f"SELECT * FROM {_quoted(name)}")) for name in names}
        except sqlite3.Error:
            return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sorted(rows: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in rows), key=repr)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action in _REFUSED_ACTIONS or (
        action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _REFUSED_FUNCTIONS
    ):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _meaning(text: str) -> str | float:
    """A file that holds a number means the number, to the cent; other texts mean what is not white space."""
    try:
        return round(float(text), 2)
    except ValueError:
        return " ".join(text.split())
