"""Sums of numbers with small digits, for the embedded policy: four rewards that compete for a short reply."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from gdpo_bench.core import (
    DeclarationError,
    RewardSpec,
    Task,
    TextEnv,
    content_hash,
    held_out,
    reward,
    split_by_content,
)
from gdpo_envs.math.length import conditioned
from gdpo_envs.options import checked_count, checked_share
from gdpo_envs.tags import reply_pattern

_FORMAT = reply_pattern("answer")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_MOST_SUMS = 100_000
_LONGEST_SUM = 100
"""Digits of all addends together: more cannot be learned, and powers of it take for ever to compute."""
_WORKED_SHARE = 0.55
_WRONG_SHARE = 0.1
_WORDY_SHARE = 0.8


@dataclass(frozen=True)
class SumTask(Task):
    """One sum."""

    numbers: tuple[int, ...]
    limit: int
    """Characters that a reply may have to be short."""


class MathMini(TextEnv[SumTask]):
    """Sums of three-digit numbers, answered as `<think>…</think><answer>…</answer>`.

    All sums are enumerated; about three in ten are held out in every order of their addends, and demonstrations never
    work one out, not even on the way to a longer sum. The limit of the length reward leaves room for the format and the
    answer, but not for worked steps. Digits are few, so that a small policy learns from the sums that it sees what it
    needs for the others.

    Version history:
        v1: Split by the addends without their order: all addends of v0's held-out sums were trained on in other words
            or the other way round. 378 sums of two numbers of three digits instead of 45 of one digit, in one wording;
            a thought may be opened by the prompt.
        v0: First version.
    """

    def __init__(
        self,
        max_addends: int = 2,
        max_digit: int = 3,
        limit: int = 36,
        format_rate: float = 0.25,
        eval_share: float = 0.3,
        *,
        digits: int = 3,
        conditioned: bool = False,
    ) -> None:
        """Set the options.

        Args:
            max_addends: Sums have two to this many addends.
            max_digit: Digits of addends are from 1 to this.
            limit: Characters of a short reply.
            format_rate: Share of the demonstrations that are in the right format, in [0, 1].
            eval_share: Expected share of the sums that are held out, in [0, 1].
            digits: How many digits an addend has.
            conditioned: Whether the length counts only where the answer is correct.

        Raises:
            DeclarationError: A value outside its range, or so many sums that they cannot all be listed.
        """
        self.max_addends = checked_count("max_addends", max_addends, at_least=2)
        self.max_digit = checked_count("max_digit", max_digit)
        self.limit = checked_count("limit", limit)
        self.format_rate = checked_share("format_rate", format_rate)
        self.eval_share = checked_share("eval_share", eval_share)
        self.digits = checked_count("digits", digits)
        self.conditioned = conditioned
        small = self.max_digit <= 9 and self.digits * self.max_addends <= _LONGEST_SUM
        if not small or self._count() > _MOST_SUMS:
            raise DeclarationError(
                f"max_digit must be at most 9, a sum can have at most {_LONGEST_SUM} digits, and there can be at most "
                f"{_MOST_SUMS:,} sums; max_digit={max_digit}, digits={digits}, max_addends={max_addends} make "
                f"{f'{self._count():,}' if small else 'more'}."
            )

    def _count(self) -> int:
        """How many sums there are."""
        return sum(self.max_digit ** (self.digits * count) for count in range(2, self.max_addends + 1))

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The declarations, with the condition that the options ask for."""
        return conditioned(super().reward_specs) if self.conditioned else super().reward_specs

    def tasks(self, split: str) -> Sequence[SumTask]:
        """Every sum of the split, in every order."""
        digits = itertools.product(map(str, range(1, self.max_digit + 1)), repeat=self.digits)
        addends = [int("".join(one)) for one in digits]
        sums = (
            SumTask(f"{'+'.join(map(str, numbers))}=?\n", numbers, self.limit)
            for count in range(2, self.max_addends + 1)
            for numbers in itertools.product(addends, repeat=count)
        )
        return split_by_content(sums, split, self.eval_share, lambda task: _content(task.numbers))

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
        return _FORMAT.fullmatch(reply) is not None

    @reward(low=0, high=1, kind="binary")
    def integer(self, task: SumTask, reply: str) -> bool:
        """1 if `<answer>` holds an integer and nothing else."""
        return _INTEGER.fullmatch(_answer(reply)) is not None

    def reference(self, task: SumTask) -> str:
        """The bare sum, in the right format."""
        return f"<think></think><answer>{sum(task.numbers)}</answer>"

    def demonstrations(self, rng: Random) -> Iterator[tuple[SumTask, str]]:
        """Replies with worked steps or without, often wrong, wordy or badly tagged."""
        by_addends: defaultdict[int, list[SumTask]] = defaultdict(list)
        for task in self.tasks("train"):
            by_addends[len(task.numbers)].append(task)
        choices = list(by_addends.values())
        while True:
            # Short sums are few; drawn from all tasks they would hardly be seen.
            task = rng.choice(rng.choice(choices))
            yield task, self._demonstration(task, rng)

    def _demonstration(self, task: SumTask, rng: Random) -> str:
        total = sum(task.numbers)
        thought = ""
        if rng.random() < _WORKED_SHARE and not any(map(self._is_held_out, _steps(task.numbers))):
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

    def _is_held_out(self, numbers: Sequence[int]) -> bool:
        return held_out(content_hash(_content(numbers)), self.eval_share)


def _content(numbers: Sequence[int]) -> list[int]:
    """A sum without the order of its addends."""
    return sorted(numbers)


def _steps(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Sums other than the whole one that worked steps give away."""
    for count in range(2, len(numbers)):
        yield numbers[:count]
        yield sum(numbers[:count]), numbers[count]


def _answer(reply: str) -> str:
    """What stands in the first `<answer>…</answer>` that holds no other tag, or ""."""
    found = re.search(r"<answer>([^<]*)</answer>", reply)
    return found[1] if found else ""
