"""What an attack is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from gdpo_sandbox.program import Mode, Status

BREACH = "BREACH"
"""What a program writes or returns once it has got through."""
_NO_BLAME = tuple(status for status in Status if status is not Status.SANDBOX_ERROR)


@dataclass(frozen=True)
class Attack:
    """A hostile program that poses as the solution of a task."""

    family: str
    name: str
    tries: str
    """What it tries, in a few words."""
    source: str
    mode: Mode = "call"
    """`call` programs define `f`, which is called with a number; `stdio` ones find it on standard input."""
    ends: Collection[Status] = _NO_BLAME
    """How its tests may end; by default in any way that does not blame the sandbox, which would excuse the program."""
    isolation: Literal["test", "program"] | None = None
    """As in `Program`."""

    @property
    def id(self) -> str:
        """Family and name, `family/name`."""
        return f"{self.family}/{self.name}".replace(" ", "-")
