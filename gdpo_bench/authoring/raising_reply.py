"""A reply that shows what a reward makes of an exception which no bad reply can cause."""

from __future__ import annotations

from typing import Any, NoReturn


class ScorerBrokeError(Exception):
    """What a scorer that is broken might raise: nothing that a parser's `except` would name."""


class RaisingReply(str):
    """A text of which nothing can be asked in Python; `touched` tells whether somebody tried.

    Code in C, such as a regular expression, reads it like any other text.
    """

    __slots__ = ("_touched",)

    @property
    def touched(self) -> bool:
        """Whether a `ScorerBrokeError` was raised."""
        return hasattr(self, "_touched")

    def _refuse(self, *_: Any) -> NoReturn:
        object.__setattr__(self, "_touched", True)
        raise ScorerBrokeError("a failure of the scorer, made by the checker")

    def __getattribute__(self, name: str) -> Any:
        if name in ("touched", "_touched", "__class__"):
            return object.__getattribute__(self, name)
        return RaisingReply._refuse(self)


# Operators look their methods up on the class.
_OPERATORS = "len iter getitem contains eq ne lt le gt ge hash add mod mul rmul str repr format reduce_ex"
for _name in _OPERATORS.split():
    setattr(RaisingReply, f"__{_name}__", RaisingReply._refuse)
