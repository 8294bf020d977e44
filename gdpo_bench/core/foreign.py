"""Errors out of somebody else's code, said in one sentence that names the code and the place."""

from __future__ import annotations

import inspect
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gdpo_bench.core.errors import DeclarationError, GdpoBenchError

_OURS = str(Path(__file__).parents[1])
_OTHERS = (_OURS, "<", *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")))
"""Where code is that an author calls and mostly did not write: ours, Python's, installed packages'."""
_SHOWN = 500
"""Characters of an exception's text; some hold a whole reply."""


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Whatever the author's code raises meanwhile becomes a message.

    Args:
        what: Stands first in the message, such as an environment's id.

    Raises:
        DeclarationError: Something else than a `GdpoBenchError` was raised.
    """
    try:
        yield
    except GdpoBenchError:
        raise
    except (Exception, SystemExit) as error:
        raise DeclarationError(f"{what}: {described(error)}.") from error


def described(error: BaseException) -> str:
    """Type, message and place of an exception."""
    place = raised_at(error)
    return summary(error) + (f" ({place})" if place else "")


def summary(error: BaseException) -> str:
    """Type and message of an exception."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)  # whose text would name the place too
    return f"{type(error).__name__}: {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}"


def raised_at(error: BaseException) -> str:
    """File and line: the last that the author wrote, of the calls that led to the exception; else the last of all."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OTHERS)]
    own = own or [frame for frame in frames if not frame.filename.startswith(_OURS)] or list(frames)
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""


def defined_at(code: Any, keyword: str = "") -> str:
    """File and line of a function or class.

    Args:
        code: The function or class.
        keyword: `"def"` for the line below its decorators; by default that of the first decorator, if any.

    Returns:
        Empty where there is no source text, as at a prompt.
    """
    code = inspect.unwrap(code) if callable(code) else code
    try:
        lines, first = inspect.getsourcelines(code)
        file = inspect.getsourcefile(code)
    except (OSError, TypeError):
        return ""
    below = next((i for i, line in enumerate(lines) if keyword in line.split()), 0) if keyword else 0
    return f"{file}, line {first + below}"


def check_signature(cls: type, method: str, what: str, wanted: Sequence[str]) -> None:
    """Check that a method of an author's class can be called as it will be.

    Args:
        cls: The class.
        method: The method's name.
        what: What it is called in messages.
        wanted: Names of the arguments that it is called with, by position; `self` first.

    Raises:
        DeclarationError: It is no method, or takes other arguments.
    """
    member = inspect.getattr_static(cls, method)
    function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
    wanted = wanted[1:] if isinstance(member, staticmethod) else wanted
    if not callable(function):
        if hasattr(function, "__get__"):  # a property and its like may give a function
            return
        raise DeclarationError(
            f"{what} must be a method, def {method}({', '.join(wanted)}); it is {function!r:.60}."
        ).at(defined_at(cls, "class"))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a callable written in C
        return
    try:
        signature.bind(*wanted)
    except TypeError:
        raise DeclarationError(
            f"{what} must take ({', '.join(wanted)}); it takes ({', '.join(signature.parameters)})."
        ).at(defined_at(function, "def")) from None


def named(found: Any) -> str:
    """A value in a message."""
    return "None" if found is None else f"{found!r:.60}, {with_article(type(found).__name__)}"


def with_article(noun: str) -> str:
    """`an int`, `a str`."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
