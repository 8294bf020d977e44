"""Commands as `--help` shows them: a line each in a list, and sentences without the line breaks of our docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from tyro.extras import SubcommandApp

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def joined(command: CommandT) -> CommandT:
    """The command, its docstring's arguments in a line each: tyro would break sentences where our lines end."""
    command.__doc__ = re.sub(r"\n {8}\s*", " ", inspect.getdoc(command) or "")
    return command


def add_commands(app: SubcommandApp, *commands: Callable[..., Any]) -> None:
    """Enter commands into an app by their names."""
    for command in commands:
        app.command(joined(command))
