"""Sums of small numbers, for the embedded policy: four rewards that compete for a short reply."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from gdpo_bench.core import RewardSpec, Task, TextEnv, reward, split_by_content
from gdpo_envs.math.length import conditioned
from gdpo_envs.options import checked_count, checked_share
from gdpo_envs.tags import has_blocks, tag_pattern

_TAGS = tag_pattern("answer")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_WORDINGS = ("{}=?", "What is {}?", "{} makes?")
_WORKED_SHARE = 0.55
_WRONG_SHARE = 0.35
_WORDY_SHARE = 0.35


@dataclass(frozen=True)
class SumTask(Task):
    """One sum."""

    numbers: tuple[int, ...]
    limit: int
    """Characters that a reply may have to be short."""


class MathMini(TextEnv[SumTask]):
    """Sums of two or three digits, answered as `<think>…</think><answer>…</answer>`.

    All sums are enumerated; one in five is held out for evaluation, chosen by content. The limit
    of the length reward leaves room for the format and the answer, but not for worked steps.
    """

    def __init__(
        self,
        max_addends: int = 2,
        max_digit: int = 9,
        limit: int = 36,
        format_rate: float = 0.5,
        eval_share: float = 0.2,
        *,
        conditioned: bool = False,
    ) -> None:
        """Set the options.

        Args:
            max_addends: Sums have two to this many addends.
            max_digit: Addends are from 1 to this.
            limit: Characters of a short reply.
            format_rate: Share of the demonstrations that are in the right format, in [0, 1].
            eval_share: Expected share of the tasks that are held out, in [0, 1].
            conditioned: Whether the length counts only where the answer is correct.

        Raises:
            DeclarationError: A value outside its range.
        """
        self.max_addends = checked_count("max_addends", max_addends, at_least=2)
        self.max_digit = checked_count("max_digit", max_digit)
        self.limit = checked_count("limit", limit)
        self.format_rate = checked_share("format_rate", format_rate)
        self.eval_share = checked_share("eval_share", eval_share)
        self.conditioned = conditioned

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The declarations, with the condition that the options ask for."""
        return conditioned(super().reward_specs) if self.conditioned else super().reward_specs

    def tasks(self, split: str) -> Sequence[SumTask]:
        """Every sum of the split."""
        sums = (
            SumTask(f"{wording.format('+'.join(map(str, numbers)))}\n", numbers, self.limit)
            for wording in _WORDINGS
            for count in range(2, self.max_addends + 1)
            for numbers in itertools.product(range(1, self.max_digit + 1), repeat=count)
        )
        return split_by_content(sums, split, self.eval_share)

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def correct(self, task: SumTask, reply: str) -> bool:
        """1 if the number that `<answer>` begins with is the sum."""
        number = _INTEGER.match(_answer(reply))
        return number is not None and int(number[0]) == sum(task.numbers)

    @reward(low=0, high=1, kind="binary", metric="exceed_ratio")
    def length(self, task: SumTask, reply: str) -> bool:
        """1 if the reply has at most `task.limit` characters."""
        return len(reply) <= task.limit

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: SumTask, reply: str) -> bool:
        """1 if the reply is `<think>…</think><answer>…</answer>` and nothing else."""
        return has_blocks(reply, ["answer"], _TAGS)

    @reward(low=0, high=1, kind="binary")
    def integer(self, task: SumTask, reply: str) -> bool:
        """1 if `<answer>` holds an integer and nothing else."""
        return _INTEGER.fullmatch(_answer(reply)) is not None

    def reference(self, task: SumTask) -> str:
        """The bare sum, in the right format."""
        return f"<think></think><answer>{sum(task.numbers)}</answer>"

    def demonstrations(self, rng: Random) -> Iterator[tuple[SumTask, str]]:
        """Replies with worked steps or without, often wrong, wordy or badly tagged."""
        tasks = self.tasks("train")
        while True:
            # Short sums are few; without this they would hardly be seen.
            addends = rng.randint(2, self.max_addends)
            task = rng.choice(tasks)
            while len(task.numbers) != addends:
                task = rng.choice(tasks)
            yield task, self._demonstration(task, rng)

    def _demonstration(self, task: SumTask, rng: Random) -> str:
        total = sum(task.numbers)
        thought = ""
        if rng.random() < _WORKED_SHARE:
            partial = list(itertools.accumulate(task.numbers))
            steps = zip(partial, task.numbers[1:], partial[1:], strict=False)
            thought = "; ".join(f"{a}+{b}={c}" for a, b, c in steps) + f"; so it is {total}"
        stated = max(0, total + rng.choice((-3, -2, -1, 1, 2, 3))) if rng.random() < _WRONG_SHARE else total
        answer = f"{stated} in all" if rng.random() < _WORDY_SHARE else str(stated)
        good = f"<think>{thought}</think><answer>{answer}</answer>"
        if rng.random() < self.format_rate:
            return good
        return rng.choices(
            (
                f"<think>{thought}<answer>{answer}</answer>",
                f"{thought}<answer>{answer}</answer>",
                f"<think>{thought}</think>{answer}",
            ),
            (0.4, 0.3, 0.3),
        )[0]


def _answer(reply: str) -> str:
    """What stands in the first `<answer>…</answer>` that holds no other tag, or ""."""
    found = re.search(r"<answer>([^<]*)</answer>", reply)
    return found[1] if found else ""
