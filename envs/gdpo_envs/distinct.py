"""Tasks of a published split, each once and none that evaluation holds too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from gdpo_bench.core import Task

TaskT = TypeVar("TaskT", bound=Task)
_log = logging.getLogger(__name__)


def normalized(task: Task) -> str:
    """Prompts that differ only in spaces and capitals are the same."""
    return " ".join(task.prompt.split()).casefold()


def distinct(
    tasks: Sequence[TaskT], source: str, held_out: Collection[str] = (), key: Callable[[TaskT], str] = normalized
) -> tuple[TaskT, ...]:
    """The tasks in their order, without repetitions and held-out ones; how many are left out is reported.

    Args:
        tasks: As they are published.
        source: Data set and split, for the report.
        held_out: Keys of the tasks of evaluation.
        key: Equal for tasks that count as the same.

    Returns:
        The first task of each key that is not held out.
    """
    kept: dict[str, TaskT] = {}
    for task in tasks:
        if (name := key(task)) not in held_out:
            kept.setdefault(name, task)
    if left_out := len(tasks) - len(kept):
        _log.warning("%s: left out %d problems that occur twice or in evaluation", source, left_out)
    return tuple(kept.values())
