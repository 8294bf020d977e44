"""Environments that the checker is tried on: three that are fine, and others that break one rule each.

Processes that the checker starts must be able to import them, so tests put this folder on the path.
"""

import asyncio
import os
import random
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

from gdpo_bench import DialogEnv, Gate, Task, TextEnv, Turn, reward
from gdpo_bench.core import DataError, Message, split_by_content


@dataclass(frozen=True)
class NumberTask(Task):
    number: int


class Fine(TextEnv[NumberTask]):
    """Say a number."""

    def tasks(self, split: str) -> Sequence[NumberTask]:
        return split_by_content((NumberTask(f"Say {n}", n) for n in range(60)), split, 0.3)

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def right(self, task: NumberTask, reply: str) -> float | None:
        found = re.search(r"\d{1,9}", reply)
        return float(found is not None and int(found[0]) == task.number)

    @reward(low=0, high=1, gate=Gate(on="right", at_least=1))
    def short(self, task: NumberTask, reply: str) -> Any:
        return 3 / max(3, len(reply))

    def reference(self, task: NumberTask) -> str | None:
        return f"{task.number}"

    def demonstrations(self, rng: Random) -> Iterator[tuple[NumberTask, str]]:
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            yield task, rng.choice((f"{task.number}", f"well, {task.number}", "no idea", f"{task.number + 1}"))


class FineAwaited(Fine):
    """With rewards that are awaited."""

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    async def right(self, task: NumberTask, reply: str) -> float:
        await asyncio.sleep(0)
        found = re.search(r"\d{1,9}", reply)
        return float(found is not None and int(found[0]) == task.number)

    @reward(low=0, high=1, gate=Gate(on="right", at_least=1), batched=True)
    async def short(self, tasks: Sequence[NumberTask], replies: Sequence[str]) -> Any:
        return [3 / max(3, len(reply)) for reply in replies]


class MessageWithoutText(Fine):
    def messages(self, task: NumberTask) -> list[Message]:
        return [{"role": "user", "content": task.number}]  # type: ignore[typeddict-item]


class SeedlessTasks(Fine):
    def tasks(self, split: str) -> Sequence[NumberTask]:
        return random.sample(list(super().tasks(split)), 10)


class RepeatedTask(Fine):
    def tasks(self, split: str) -> Sequence[NumberTask]:
        return [*super().tasks(split), super().tasks(split)[0]]


@dataclass(frozen=True)
class SetTask(NumberTask):
    words: frozenset[str] = frozenset({"a"})


class TaskWithASet(Fine):
    def tasks(self, split: str) -> Sequence[NumberTask]:
        return [SetTask(task.prompt, task.number) for task in super().tasks(split)]


class OverlappingSplits(Fine):
    def tasks(self, split: str) -> Sequence[NumberTask]:
        more = [NumberTask("Say  7" if split == "train" else "say 7", 7)]
        return [*(task for task in super().tasks(split) if task.number != 7), *more]


class NoTrainingData(Fine):
    def tasks(self, split: str) -> Sequence[NumberTask]:
        if split == "train":
            raise DataError("no training data here")
        return super().tasks(split)


class NotANumber(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        return float("nan") if len(reply) > 3 else 1.0


class OutOfRange(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        return max(3, len(reply)) / 3


class NotBinary(Fine):
    @reward(low=0, high=1, kind="binary")
    def short(self, task: NumberTask, reply: str) -> float:
        return 3 / max(3, len(reply))


class WrongType(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> Any:
        return np.zeros(2) if len(reply) > 3 else 1.0


class WrongShape(Fine):
    @reward(low=0, high=1, batched=True)
    def short(self, tasks: Sequence[NumberTask], replies: Sequence[str]) -> Any:
        return [1 / max(1, len(replies[0]) - 1)]


class UnreadableDigits(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        int(re.findall(r"\d+|$", reply)[0] or 0)  # int() refuses 5000 digits
        return float(len(reply) < 4)


class Recursive(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        def depth(text: str) -> int:
            return 1 + depth(text[1:]) if text.startswith("[") else 0

        return 1 / (1 + depth(reply) + len(reply) // 4)


class Exiting(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        if reply == "hello":
            sys.exit("cannot score this")
        return 3 / max(3, len(reply))


class Crashing(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        if "\ud800" in reply:
            os._exit(7)
        return 3 / max(3, len(reply))


class Hanging(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        if len(reply) > 100_000:
            time.sleep(600)
        return 3 / max(3, len(reply))


class Swallowing(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        try:
            return 3 / max(3, len(reply.strip()))
        except Exception:
            return 0.0


class Dicing(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        return 1.0 if len(reply) < 3 else random.random()


class HashDependent(Fine):
    @reward(low=0, high=1)
    def short(self, task: NumberTask, reply: str) -> float:
        return 1.0 if len(reply) < 3 else hash(reply) % 97 / 97


class SetOrderedTasks(Fine):
    def tasks(self, split: str) -> Sequence[NumberTask]:
        by_prompt = {task.prompt: task for task in super().tasks(split)}
        return [by_prompt[prompt] for prompt in set(by_prompt)]


class ComparedWithTheBatch(Fine):
    @reward(low=0, high=1, batched=True)
    def short(self, tasks: Sequence[NumberTask], replies: Sequence[str]) -> list[float]:
        return [(1 + min(map(len, replies))) / (1 + len(reply)) / max(1, len(reply) - 1) for reply in replies]


class ReusedBuffer(Fine):
    def __init__(self) -> None:
        self._buffer = np.zeros(100_000)

    @reward(low=0, high=1, batched=True)
    def short(self, tasks: Sequence[NumberTask], replies: Sequence[str]) -> Any:
        for i, reply in enumerate(replies):
            self._buffer[i] = 3 / max(3, len(reply))
        return self._buffer[: len(replies)]


@lru_cache
def _cached_messages(prompt: str) -> list[Message]:
    return [{"role": "user", "content": prompt}]


class SharedMessages(Fine):
    def messages(self, task: NumberTask) -> list[Message]:
        return _cached_messages(task.prompt)


class ImperfectReference(Fine):
    def reference(self, task: NumberTask) -> str | None:
        return f"The number is {task.number}"


class Constant(Fine):
    @reward(low=0, high=1)
    def always(self, task: NumberTask, reply: str) -> float:
        return 1.0


class NeverApplicable(Fine):
    @reward(low=0, high=1)
    def never(self, task: NumberTask, reply: str) -> float | None:
        return None


class Duplicate(Fine):
    @reward(low=-3, high=3)
    def again(self, task: NumberTask, reply: str) -> float:
        return 6 * float(self.right(task, reply) or 0) - 3


class EndingDemonstrations(Fine):
    def demonstrations(self, rng: Random) -> Iterator[tuple[NumberTask, str]]:
        return iter([(self.tasks("train")[0], "1"), (self.tasks("train")[0], "11")])


class EvalDemonstrations(Fine):
    def demonstrations(self, rng: Random) -> Iterator[tuple[NumberTask, str]]:
        while True:
            task = rng.choice(self.tasks("eval"))
            yield task, f"{task.number}"


class UnseededDemonstrations(Fine):
    def demonstrations(self, rng: Random) -> Iterator[tuple[NumberTask, str]]:
        return super().demonstrations(Random())


class Unpicklable(Fine):
    def __init__(self) -> None:
        self._lock = threading.Lock()


@dataclass
class Guesses:
    seen: list[int] = field(default_factory=list)


class FineDialog(DialogEnv[NumberTask, Guesses]):
    """Guess a number in four turns, being told what is higher."""

    max_turns = 4

    def tasks(self, split: str) -> Sequence[NumberTask]:
        return split_by_content((NumberTask(f"Guess, from 0 to 9 (round {n})", n % 10) for n in range(60)), split, 0.3)

    def begin(self, task: NumberTask) -> Guesses:
        return Guesses()

    def respond(self, task: NumberTask, state: Guesses, reply: str) -> Message | None:
        guess = int(reply) if re.fullmatch(r"\d{1,3}", reply) else 0
        state.seen.append(guess)
        return None if guess == task.number else {"role": "user", "content": "higher" if guess < task.number else "no"}

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def found(self, task: NumberTask, turn: Turn[Guesses]) -> bool | None:
        return task.number in turn.state.seen if turn.last else None

    @reward(low=-3, high=0, kind="penalty")
    def guesses(self, task: NumberTask, turn: Turn[Guesses]) -> float:
        return -1.0 if turn.index else 0.0

    def reference(self, task: NumberTask) -> str | None:
        return f"{task.number}"

    def demonstrations(self, rng: Random) -> Iterator[tuple[NumberTask, list[str]]]:
        tasks = self.tasks("train")
        while True:
            yield rng.choice(tasks), [f"{rng.randrange(10)}" for _ in range(4)]


_everybodys = Guesses()


class SharedState(FineDialog):
    def begin(self, task: NumberTask) -> Guesses:
        _everybodys.seen.clear()
        return _everybodys


class NoBeginning(FineDialog):
    def begin(self, task: NumberTask) -> Guesses:
        raise TimeoutError("no database")


@dataclass
class Locked(Guesses):
    lock: Any = field(default_factory=threading.Lock)


class UnpicklableState(FineDialog):
    def begin(self, task: NumberTask) -> Guesses:
        return Locked()


class BadReferenceDialog(FineDialog):
    def reference(self, task: NumberTask) -> str | list[str] | None:  # type: ignore[override]
        return [f"{task.number + 1}", f"{task.number}"]
