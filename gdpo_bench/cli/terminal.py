"""Where command lines print what is laid out: tables, colours, progress."""

from __future__ import annotations

import sys
from typing import IO

from rich.console import Console

from gdpo_bench.core.text import printable

_LOG_WIDTH = 120
"""Of files and pipes, which have none."""


def make_console() -> Console:
    """A console as wide as the terminal; `hf:x:rank=1` has no emoji in it."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _LOG_WIDTH, emoji=False)


def say(text: str, file: IO[str] | None = None) -> None:
    """Print a sentence that may hold text of others, without what a terminal would obey."""
    print(printable(text), file=file)
