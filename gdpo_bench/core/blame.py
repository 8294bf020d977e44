"""Errors out of somebody else's code, said in one sentence that names the code and the place."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from gdpo_bench.core.errors import DeclarationError, GdpoBenchError


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
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
