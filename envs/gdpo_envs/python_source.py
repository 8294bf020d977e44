"""Python's own parser, one thread at a time.

Python 3.11 keeps the depth of the tree that it builds in one place for all threads. Building a tree may run the garbage
collector, which may let another thread run; if that one parses too, one of the two fails with `SystemError: AST
constructor recursion depth mismatch` (https://github.com/python/cpython/issues/106905). Tasks are judged in threads, so
everything that is parsed while they are goes through here.
"""

from __future__ import annotations

import ast
from threading import RLock
from typing import Any, Literal

_ONE_AT_A_TIME = RLock()
"""May be entered again: the collector can run a finalizer that parses."""


def parse(source: str, mode: Literal["exec", "eval"] = "exec") -> Any:
    """As `ast.parse`: an `ast.Module`, or an `ast.Expression` for mode `eval`."""
    with _ONE_AT_A_TIME:
        return ast.parse(source, mode=mode)


def literal(text: str) -> Any:
    """As `ast.literal_eval`."""
    return ast.literal_eval(parse(text.lstrip(" \t"), "eval"))
