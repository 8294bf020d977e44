"""Copy a number and append marks: rewards whose properties are known because they were chosen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core import RewardSpec, Task, TextEnv, content_hash, held_out, reward, split_by_content
from gdpo_bench.core.designed import REWARD_NAMES, RewardDesign

_DIGITS = 3
_EVAL_SHARE = 0.2
_TAIL = 2
"""Digits that a demonstration appends where there is noise, so that replies differ in more than what they earn."""


@dataclass(frozen=True)
class BitsTask(Task):
    """One number to copy."""

    number: str


def _small(name: str) -> Callable[..., list[float | None]]:
    """The reward for one of the marks."""

    def method(self: Bits, tasks: Sequence[BitsTask], replies: Sequence[str]) -> list[float | None]:
        return self.column(REWARD_NAMES.index(name), tasks, replies)

    method.__name__ = name
    method.__doc__ = f"1 if mark {name.removeprefix('small')} behind the number is 1."
    return reward(low=0, high=1, kind="binary", batched=True)(method)


class Bits(TextEnv[BitsTask]):
    """A number of three digits, to be copied, and behind it K − 1 marks, each to be 1 and not 0: `352` → `35211`.

    The copy earns the large reward, each mark a small one. How many rewards there are, what they are worth, how rare
    they are at the start, how they depend on each other: all of it is an option (`RewardDesign`). Demonstrations that
    miss the large reward write 0 for the last digit, which no number has; so a policy of one layer can learn which
    rewards come together. Digits are single tokens, and the policy warm-starts on this environment alone.

    Noise is a function of the whole reply, of its free digits at the end too: rewards stay pure, and who draws again
    draws noise again.

    Version history:
        v0: First version.
    """

    warm_starts_alone = True

    def __init__(
        self,
        rewards: int = 2,
        scale: float = 6.0,
        rarity: float = 0.04,
        common: float = 0.3,
        correlation: float = 0.0,
        *,
        conflict: float = 0.0,
        noise: float = 0.0,
        applicable: float = 1.0,
        gated: bool = False,
    ) -> None:
        """Set the options; `RewardDesign` says what each means.

        Raises:
            DeclarationError: A value outside its range, or options that contradict each other.
        """
        self.design = RewardDesign(rewards, scale, rarity, common, correlation, conflict, noise, applicable, gated)

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The design's declarations."""
        return self.design.specs

    def tasks(self, split: str) -> Sequence[BitsTask]:
        """All numbers of the split."""
        numbers = map("".join, itertools.product("123456789", repeat=_DIGITS))
        return split_by_content((BitsTask(f"{number}\n", number) for number in numbers), split, _EVAL_SHARE)

    @reward(low=0, high=1, kind="binary", metric="accuracy", batched=True)
    def large(self, tasks: Sequence[BitsTask], replies: Sequence[str]) -> list[float | None]:
        """The scale if the reply begins with the number, less what the first mark costs."""
        return self.column(0, tasks, replies)

    small1, small2, small3, small4, small5, small6, small7 = map(_small, REWARD_NAMES[1:])

    def column(self, k: int, tasks: Sequence[BitsTask], replies: Sequence[str]) -> list[float | None]:
        """Rewards k of N replies; None where it does not apply to the task."""
        values = self.design.values(self._earned(tasks, replies))[:, k]
        width = self.design.noise_width[k]
        return [
            float(value + width * _spread(task.number, reply, k)) if self._applies(task, k) else None
            for value, task, reply in zip(values, tasks, replies, strict=True)
        ]

    def _earned(self, tasks: Sequence[BitsTask], replies: Sequence[str]) -> NDArray[np.bool_]:
        """(N, K) what replies do of what is asked."""
        places = range(_DIGITS, _DIGITS + self.design.rewards - 1)
        rows = [
            [reply.startswith(task.number), *(reply[i : i + 1] == "1" for i in places)]
            for task, reply in zip(tasks, replies, strict=True)
        ]
        return np.array(rows, dtype=bool).reshape(-1, self.design.rewards)

    def _applies(self, task: BitsTask, k: int) -> bool:
        return k == 0 or self.design.applicable == 1 or held_out(content_hash([task.number, k]), self.design.applicable)

    def reference(self, task: BitsTask) -> str | None:
        """The number and all marks; none where a conflict or noise leaves no reply with full marks."""
        return None if self.design.conflict or self.design.noise else task.number + "1" * (self.design.rewards - 1)

    def gameable(self) -> dict[str, str]:
        """The number."""
        return {"large": "the prompt is the number to be copied; the marks behind it stand in no prompt."}

    def demonstrations(self, rng: Random) -> Iterator[tuple[BitsTask, str]]:
        """Replies that earn each reward as often, and as often together, as the design says."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            copied, *marks = (rng.random() < chance for chance in self.design.chances(rng.gauss()))
            number = task.number if copied else task.number[:-1] + "0"
            tail = "".join(rng.choices("0123456789", k=_TAIL)) if self.design.noise else ""
            yield task, number + "".join("01"[mark] for mark in marks) + tail


def _spread(number: str, reply: str, k: int) -> float:
    """Noise in [-1, 1], uniform over replies."""
    return int(content_hash([number, reply, k], 8), 16) / 0xFFFF_FFFF * 2 - 1
