"""Errors that a user can act on.

Every message says what was expected, what came, and what to do. Command lines print these
without a traceback; anything else that escapes is a defect of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class GdpoBenchError(Exception):
    """Base of all errors that are the caller's to mend."""

    place = ""
    """File and line of what is to be mended, where that is code."""

    def at(self, place: str) -> Self:
        """This error, with the place at the end of its message; the first that is known is the nearest, and stays.

        Args:
            place: File and line; empty where they are not known.
        """
        if place and not self.place:
            self.place = place
            self.args = (f"{self} ({place})",)
        return self


_LISTED = 50
"""Names that an error lists; more would bury the guess."""


def guess(name: str, known: Iterable[str]) -> str:
    """A question that names what is near, or nothing."""
    by_folded = {one.casefold(): one for one in sorted(known, reverse=True)}
    near = [by_folded[one] for one in difflib.get_close_matches(name.casefold(), sorted(by_folded), n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


class UnknownNameError(GdpoBenchError, LookupError):
    """An id or name that is not registered; the message lists the near ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        """Compose the message.

        Args:
            kind: What was looked up, such as `"environment"`.
            name: What was asked for.
            known: What exists.
            hint: One more thing the user could do.
        """
        known = sorted(known)
        more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        listing = (", ".join(known[:_LISTED]) or "nothing") + more
        super().__init__(f"Unknown {kind} {name!r}.{guess(name, known)} Known: {listing}.{' ' if hint else ''}{hint}")


class RegistrationError(GdpoBenchError, ValueError):
    """A registration that cannot be accepted, or a plug-in that cannot be loaded."""


class DeclarationError(GdpoBenchError, ValueError):
    """A reward, task or environment that is declared inconsistently."""


class RewardError(GdpoBenchError, ValueError):
    """A reward function returned what its declaration forbids (NaN, out of range, wrong shape)."""


class RewardTimeoutError(GdpoBenchError, TimeoutError):
    """A reward function took longer than the environment's `reward_timeout`."""


class UnavailableError(GdpoBenchError, RuntimeError):
    """Something that scoring needs is not there, such as a Docker engine; it says nothing of the replies."""


class ReplyError(GdpoBenchError, ValueError):
    """`step` was called with something other than one text per rollout."""


class DataError(GdpoBenchError, ValueError):
    """A data source that is missing, unreadable or of another schema."""
