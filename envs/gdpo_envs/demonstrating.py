"""Imperfect demonstrations from reference solutions: the content is right, the format only in a share of them.

A policy that imitates them can tell formats apart by what they earn, and still has the format to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import TypeVar

from gdpo_bench.core import DataError, Task, TextEnv

FORMAT_RATE = 0.15
"""Share of demonstrations in the right format, unless an option says otherwise."""
TaskT = TypeVar("TaskT", bound=Task)


def imperfect(
    env: TextEnv[TaskT],
    rng: Random,
    format_rate: float,
    well_formed: Callable[[TaskT], str | None],
    malformed: Callable[[TaskT, Random], str],
) -> Iterator[tuple[TaskT, str]]:
    """Training tasks with their solutions, without end; nothing where there are none, or no data to train on.

    Args:
        env: Whose training tasks.
        rng: Fixes them.
        format_rate: Share of well-formed replies.
        well_formed: The solution as it should be written; None where none is known.
        malformed: The solution as people write it otherwise.
    """
    known: list[tuple[TaskT, str]] = []
    if "train" in env.splits:
        with suppress(DataError):  # who trains on them is told so; who only scores needs none
            known = [(task, reply) for task in env.tasks("train") if (reply := well_formed(task)) is not None]
    while known:
        task, reply = rng.choice(known)
        yield task, reply if rng.random() < format_rate else malformed(task, rng)
