"""The processes that train one policy together, and what they tell each other.

What only some processes know goes through a `World`, so that the trainer is written once: in a world of one
process, which is the default, `all_gather` is a call and nothing else. An error in one process is raised in all, at
the next point where they meet; otherwise those without it would wait for ever.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from gdpo_bench.core import GdpoBenchError

T = TypeVar("T")
_PATIENCE = timedelta(days=7)
"""Processes wait for each other as long as it takes, for a warm start of hours too; torchrun ends all when one dies."""


class PeerError(GdpoBenchError, RuntimeError):
    """What another process raised, in its words."""


class PeerDefectError(RuntimeError):
    """A defect that showed itself in another process, with its traceback."""


class World:
    """This process alone."""

    rank = 0
    """Number of this process; the first one prints and writes."""
    size = 1
    """How many processes there are."""

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def all_gather(self, work: Callable[[], T]) -> list[T]:
        """Do something in every process, and bring together what comes out.

        Args:
            work: Its result must be picklable.

        Returns:
            The results in the order of ranks, in every process.

        Raises:
            PeerError: It raised in another process, which raises its own error.
            PeerDefectError: Likewise, and the error was none of ours.
        """
        return [work()]

    def barrier(self, work: Callable[[], T]) -> T:
        """Do something in every process and wait for all; if it fails in one, it fails in all, as in `all_gather`."""
        return work()

    def broadcast(self, work: Callable[[], T]) -> T:
        """Do something in the first process alone, and tell the others; errors are everyone's, as in `all_gather`."""
        return work()

    def share(self, items: Any) -> Any:
        """This process's part of a tensor's rows or of a list: every n-th one."""
        return items[self.rank :: self.size]

    def generator(self, seed: int) -> torch.Generator:
        """Random numbers of this process's own; the first one's are those of a world of one."""
        if not self.is_first:
            seed = int(np.random.SeedSequence((seed, self.rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator().manual_seed(seed)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Marks what all processes do at once on their devices; who fails there can no longer tell the others."""
        yield

    def claim_device(self) -> None:
        """Make this process's GPU the current one of the calling thread."""


@dataclass(frozen=True)
class _Done:
    value: Any


@dataclass(frozen=True)
class _Problem:
    rank: int
    message: str
    expected: bool


class ProcessGroup(World):
    """The processes that torchrun started, of which this is one."""

    def __init__(self) -> None:
        """Meet the others."""
        self._agreed: Exception | None = None
        self._gpu = int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else None
        self.claim_device()
        backend = "gloo" if self._gpu is None else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, timeout=_PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def all_gather(self, work: Callable[[], T]) -> list[T]:
        """See `World.all_gather`."""
        error: Exception | None = None
        outcome: _Done | _Problem
        try:
            outcome = _Done(work())
        except Exception as caught:
            if self._all_know(caught):
                raise
            error, expected = caught, isinstance(caught, GdpoBenchError)
            outcome = _Problem(self.rank, str(caught) if expected else traceback.format_exc(), expected)
        outcomes: list[Any] = [None] * self.size
        dist.all_gather_object(outcomes, outcome)
        problem = next((one for one in outcomes if isinstance(one, _Problem)), None)
        if problem is None:
            return [one.value for one in outcomes]
        if error is None or problem.rank != self.rank:
            theirs = f"In process {problem.rank}:\n{problem.message}"
            error = PeerError(problem.message) if problem.expected else PeerDefectError(theirs)
        self._agreed = error
        raise error

    def barrier(self, work: Callable[[], T]) -> T:
        """See `World.barrier`."""
        results: list[T] = []
        self.all_gather(lambda: results.append(work()))
        return results[0]

    def broadcast(self, work: Callable[[], T]) -> T:
        """See `World.broadcast`."""
        # Not by `all_gather`, which would make room in every process for a result of this size from each.
        box: list[Any] = [self.barrier(lambda: work() if self.is_first else None)]
        dist.broadcast_object_list(box, src=0)
        value: T = box[0]
        return value

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """See `World.in_step`; a failure ends the process, upon which torchrun ends all."""
        try:
            yield
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def claim_device(self) -> None:
        """See `World.claim_device`."""
        if self._gpu is not None and self._gpu < torch.cuda.device_count():
            torch.cuda.set_device(self._gpu)

    def _all_know(self, error: BaseException | None) -> bool:
        """Whether an error, or what it was made from, has been raised in all processes already."""
        while error is not None:
            if error is self._agreed:
                return True
            error = error.__cause__ or error.__context__
        return False


_current = World()


def current_world() -> World:
    """The processes that train with this one: those that it has joined, or it alone."""
    return _current


def join_world() -> World:
    """Meet the processes that torchrun started beside this one."""
    global _current  # noqa: PLW0603 (like torch's own process group, of which there is one)
    _current = ProcessGroup()
    return _current


def leave_world(status: int) -> NoReturn:
    """End this process, which has joined others and has nothing more to do with them.

    FSDP keeps the process group alive beyond its destruction, and with it Gloo's threads, which at the interpreter's
    own end abort the process now and then (https://github.com/pytorch/pytorch/issues/190489): it ends at once.

    Args:
        status: The exit status.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
