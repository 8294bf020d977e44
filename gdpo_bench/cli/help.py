"""Commands as `--help` shows them: a line each in a list, and sentences without the line breaks of our docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from tyro.constructors import PrimitiveConstructorSpec
from tyro.extras import SubcommandApp

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def _some(words: list[str]) -> tuple[str, ...]:
    if not words:
        raise ValueError("expected at least one value")
    return tuple(words)


Words = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="STR [STR ...]",
        instance_from_str=_some,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=list,
    ),
]
"""An option's values: without any it would be as if it were not there, and something else would run."""


def joined(command: CommandT) -> CommandT:
    """The command, its docstring's arguments in a line each: tyro would break sentences where our lines end."""
    command.__doc__ = re.sub(r"\n {8}\s*", " ", inspect.getdoc(command) or "")
    return command


def add_commands(app: SubcommandApp, *commands: Callable[..., Any]) -> None:
    """Enter commands into an app by their names."""
    for command in commands:
        app.command(joined(command))
