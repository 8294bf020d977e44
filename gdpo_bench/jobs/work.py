"""Work that goes to other processes, what is heard of it, and who does it: the contract of engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self


class Report(Protocol):
    """How a task tells where it is."""

    def __call__(self, share: float, text: str) -> None:
        """Report the finished share in [0, 1] and a few words."""


class WorkItem(Protocol):
    """Something to be done in another process; it must be picklable."""

    @property
    def label(self) -> str:
        """What to call it in front of the user."""

    def __call__(self, report: Report) -> Any:
        """Do it; the result must be picklable."""


@dataclass(frozen=True)
class Progressed:
    """A task is under way."""

    task: int
    share: float
    text: str


@dataclass(frozen=True)
class Finished:
    """A task is done."""

    task: int
    result: Any


@dataclass(frozen=True)
class Failed:
    """A task stopped with an error; the others go on."""

    task: int
    message: str
    expected: bool
    """Whether the message is meant for the user, or is a traceback of a defect."""


Event = Progressed | Finished | Failed


class Engine(Protocol):
    """Where tasks run. Leaving its context ends what still runs."""

    def __enter__(self) -> Self:
        """Nothing more to be started."""

    def __exit__(self, *exception: object) -> None:
        """End all processes of ours."""

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[Event]:
        """Run tasks, begun in their order, and yield what happens, as it happens.

        Each task ends with one `Finished` or `Failed`, after which nothing more is heard of it; a failed one
        leaves the others alone. Events name tasks by position.

        Raises:
            GdpoBenchError: There is nothing left to run tasks on.
        """
