"""What a program may still use, over all of its tests.

The host sends it with the program and gets it back, since a program may go on in another container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Budget:
    """What is left; spent when one of them is used up."""

    cpu_s: float
    wall_s: float
    output_bytes: int
    """Of standard output and of encoded values."""
    timeouts: int
    """Tests that may still run into a limit of time."""
    containers: int
    """That the program may still leave in such a state that they must be replaced."""

    def caps(self, limits: dict[str, Any]) -> dict[str, Any]:
        """The limits of one test, as far as the budget reaches."""
        return limits | {"cpu_s": min(limits["cpu_s"], self.cpu_s), "wall_s": min(limits["wall_s"], self.wall_s)}

    def spend(self, **used: float) -> None:
        """Take off what has been used."""
        for name, amount in used.items():
            setattr(self, name, getattr(self, name) - amount)

    @property
    def spent(self) -> str:
        """Why no more tests may run; empty while they may."""
        for left, why in (
            (self.cpu_s, "the program has used its CPU time for all tests"),
            (self.wall_s, "the program has used its time for all tests"),
            (self.output_bytes, "the program has written as much as it may in all tests"),
            (self.timeouts, "too many tests have run into their time limit"),
            (self.containers, "the program has left too many containers unclean"),
        ):
            if left <= 0:
                return why
        return ""
