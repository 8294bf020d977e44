"""Python's own parser, one thread at a time.

Python 3.11 keeps the depth of the tree that it builds in one place for all threads. Building a tree may run the garbage
collector, which may let another thread run; if that one parses too, one of the two fails with `SystemError: AST
constructor recursion depth mismatch` (https://github.com/python/cpython/issues/106905). Tasks are judged in threads, so
everything that is parsed while they are goes through here.
"""

from __future__ import annotations

import ast
from threading import RLock
from typing import Any

_ONE_AT_A_TIME = RLock()
"""May be entered again: the collector can run a finalizer that parses."""


def statements(source: str) -> list[ast.stmt]:
    """The statements of a program; raises what `ast.parse` raises."""
    with _ONE_AT_A_TIME:
        return ast.parse(source).body


def expression(source: str) -> ast.expr:
    """A single expression; raises what `ast.parse` raises."""
    with _ONE_AT_A_TIME:
        return ast.parse(source, mode="eval").body


def literal(text: str) -> Any:
    """As `ast.literal_eval`."""
    return ast.literal_eval(expression(text.lstrip(" \t")))
