"""acme/Sql-v0: numbers, to be put in order.

What you change: the task and `tasks`, the rewards, the reference and the demonstrations. All but
tasks and rewards may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from gdpo_bench import Gate, Task, TextEnv, reward
from gdpo_bench.core import split_by_content


@dataclass(frozen=True)
class SqlTask(Task):
    """Some digits. The task's id is a hash of the fields, which must be JSON-able."""

    digits: tuple[int, ...]


class SqlEnv(TextEnv[SqlTask]):
    """Digits, to be written in ascending order: `4 1 7` becomes `1 4 7`."""

    def __init__(self, length: int = 4) -> None:
        """Set the options; jobs give them as `acme/Sql-v0:length=5`.

        Args:
            length: Digits of a task.
        """
        self.length = length

    def tasks(self, split: str) -> Sequence[SqlTask]:
        """Random tasks, the same in every process; one in ten, by content, is for evaluation."""
        rng = Random(0)
        drawn = (tuple(rng.choices(range(10), k=self.length)) for _ in range(2000))
        return split_by_content((SqlTask(f"{_text(digits)}\n", digits) for digits in drawn), split, repeated=True)

    @reward(low=0, high=1, metric="accuracy")
    def ordered(self, task: SqlTask, reply: str) -> float:
        """Share of the digits that stand where they belong."""
        expected = _text(sorted(task.digits)).split()
        found = reply.split()[: len(expected)]
        return sum(a == b for a, b in zip(expected, found, strict=False)) / len(expected)

    @reward(low=0, high=1, kind="binary", gate=Gate(on="ordered", at_least=1), metric="format_rate")
    def bare(self, task: SqlTask, reply: str) -> bool:
        """1 if the reply is digits with single spaces, and no more; counts only if all are right."""
        return reply == _text(sorted(task.digits))

    def reference(self, task: SqlTask) -> str:
        """A reply that earns full marks."""
        return _text(sorted(task.digits))

    def demonstrations(self, rng: Random) -> Iterator[tuple[SqlTask, str]]:
        """Imperfect replies, without end. The embedded policy imitates them before it is trained."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            digits = sorted(task.digits)
            if rng.random() < 0.4:
                rng.shuffle(digits)
            yield task, _text(digits) + rng.choice(("", "", " in order", "."))


def _text(digits: Sequence[int]) -> str:
    return " ".join(map(str, digits))
