"""What an attack is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdpo_sandbox.program import Mode, Status

BREACH = "BREACH"
"""What a program prints or returns when it has got through."""
_NOT_THE_SANDBOX = frozenset(Status) - {Status.SANDBOX_ERROR}


@dataclass(frozen=True)
class Attack:
    """A hostile program, posed as the solution of a task that it cannot solve."""

    family: str
    name: str
    tries: str
    """What it tries, in a few words."""
    source: str
    mode: Mode = "call"
    """`call` programs define `f`, which is called with numbers; `stdio` ones find a number on standard input."""
    ends: frozenset[Status] = _NOT_THE_SANDBOX
    """How its tests may end."""

    @property
    def id(self) -> str:
        """Family and name, `family/name`."""
        return f"{self.family}/{self.name}".replace(" ", "-")


def attack(
    family: str, name: str, tries: str, source: str, *, mode: Mode = "call", ends: Sequence[Status] = ()
) -> Attack:
    """An attack; any end that does not blame the sandbox is allowed unless `ends` says which."""
    return Attack(family, name, tries, source.strip("\n") + "\n", mode, frozenset(ends) or _NOT_THE_SANDBOX)
