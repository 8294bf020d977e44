"""Where command lines print what is laid out: tables, colours, progress."""

from __future__ import annotations

import sys

from rich.console import Console

_LOG_WIDTH = 120
"""Of files and pipes, which have none."""


def make_console() -> Console:
    """A console as wide as the terminal."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _LOG_WIDTH)
