"""Any task of reasoning-gym as an environment of three rewards: its own score, format and length.

gdpo-bench envs reasoning_gym:chain_sum --play
python -m gdpo_bench.run --envs reasoning_gym:chain_sum:min_terms=2,max_terms=3 --normalizers grpo gdpo
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from random import Random
from typing import Any

from gdpo_bench.core import (
    DeclarationError,
    Task,
    TextEnv,
    UnavailableError,
    UnknownNameError,
    reward,
    split_by_content,
)
from gdpo_envs.distinct import normalized
from gdpo_envs.options import checked_count, checked_share
from gdpo_envs.reasoning_gym.left_out import LEFT_OUT
from gdpo_envs.tags import reply_pattern

_FORMAT = reply_pattern("answer")
_ASKS = "\nReply with <think>your thoughts</think><answer>your answer</answer>.\n"
_LONGEST_ANSWER = 20_000
"""Characters; the package's scorers take more than linear time, and no answer of its own is as long."""
_WRONG_SHARE = 0.3
_MOST_SENTENCES = 5
_SENTENCE = "Let me see. "


@dataclass(frozen=True)
class Puzzle(Task):
    """A question of the package."""

    answer: str | None
    """The package's; None where it has none and checks replies otherwise."""
    index: int
    """In the data set that the options make."""


class ReasoningGym(TextEnv[Puzzle]):
    """A task of reasoning-gym, to be answered as `<think>…</think><answer>…</answer>`.

    Questions, answers and scores are the package's, and so are all options that are not ours; entries record its
    version. Questions are held out by their text; one whose own answer does not earn the full score is left out. Tasks
    whose scorer evaluates replies as Python are refused, since nothing of a reply is run outside Docker here.

    Version history:
        First version: reasoning-gym 0.1.25.
    """

    data_licence = "Apache-2.0"

    def __init__(
        self,
        task: str,
        *,
        size: int = 500,
        seed: int = 0,
        limit: int = 64,
        format_rate: float = 0.4,
        eval_share: float = 0.2,
        **config: Any,
    ) -> None:
        """Set the options.

        Args:
            task: The package's name of the task; in the id.
            size: Questions that are drawn, of both splits together.
            seed: What they are drawn with.
            limit: Characters that a short reply may have beside its answer.
            format_rate: Share of the demonstrations that are in the right format, in [0, 1].
            eval_share: Expected share of the questions that are held out, in [0, 1].
            **config: The task's own options.

        Raises:
            UnavailableError: The package is not installed.
            UnknownNameError: It has no such task, or the task no such option.
            DeclarationError: A value outside its range, or a task that is left out.
        """
        known = _datasets()
        if task not in known:
            raise UnknownNameError("task of reasoning-gym", task, known)
        if task in LEFT_OUT:
            raise DeclarationError(f"reasoning_gym:{task} is left out: {LEFT_OUT[task]}.")
        options = [field.name for field in dataclasses.fields(known[task][1])]
        for name in config:
            if name not in options:
                raise UnknownNameError(f"option of reasoning_gym:{task}", name, options)
        self.limit = checked_count("limit", limit)
        self.format_rate = checked_share("format_rate", format_rate)
        self.eval_share = checked_share("eval_share", eval_share)
        self._task = task
        self._config = {"size": checked_count("size", size), "seed": seed, **config}

    @cached_property
    def _dataset(self) -> Any:
        try:
            return _package().create_dataset(self._task, **self._config)
        except (AssertionError, TypeError, ValueError) as error:
            raise DeclarationError(f"reasoning_gym:{self._task} does not take {self._config}: {error}") from error

    @cached_property
    def _entries(self) -> list[dict[str, Any]]:
        """The data set, drawn once: some questions take a second."""
        return [self._dataset[index] for index in range(self._config["size"])]

    def __getstate__(self) -> dict[str, Any]:
        """The options: all else follows from them, and some of the package's objects cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name not in ("_dataset", "_entries", "_puzzles")}

    def data_revision(self) -> str:
        """The package and its version."""
        return f"reasoning-gym {metadata.version('reasoning-gym')}"

    @cached_property
    def _puzzles(self) -> list[Puzzle]:
        first = {entry["question"]: index for index, entry in reversed(list(enumerate(self._entries)))}
        puzzles = (
            Puzzle(question + _ASKS, self._entries[index]["answer"], index)
            for question, index in sorted(first.items(), key=lambda item: item[1])
        )
        return [one for one in puzzles if one.answer is None or self.correct(one, _reply("", one.answer)) == 1]

    def tasks(self, split: str) -> Sequence[Puzzle]:
        """The questions of the split, each once."""
        return split_by_content(self._puzzles, split, self.eval_share, normalized)

    @reward(low=0, high=1, metric="accuracy")
    def correct(self, task: Puzzle, reply: str) -> float:
        """The package's score of what stands in `<answer>`; 0 without one."""
        answer = _answer(reply)
        return self._score(answer, task) if answer and len(answer) <= _LONGEST_ANSWER else 0.0

    def _score(self, answer: str, task: Puzzle) -> float:
        entry = self._entries[task.index]
        try:
            return float(self._dataset.score_answer(answer, entry))
        except Exception:
            if entry["answer"] is not None:
                # If it raises of the right answer too, the fault is the scorer's.
                self._dataset.score_answer(entry["answer"], entry)
            return 0.0

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: Puzzle, reply: str) -> bool:
        """1 if the reply is `<think>…</think><answer>…</answer>` and nothing else."""
        return _FORMAT.fullmatch(reply) is not None

    @reward(low=0, high=1, kind="binary", metric="exceed_ratio")
    def length(self, task: Puzzle, reply: str) -> bool:
        """1 if the reply has at most `limit` characters more than the right answer."""
        return len(reply) <= self.limit + len(task.answer or "")

    def reference(self, task: Puzzle) -> str | None:
        """The package's answer, in the right format."""
        return None if task.answer is None else _reply("", task.answer)

    def demonstrations(self, rng: Random) -> Iterator[tuple[Puzzle, str]]:
        """The package's answers, often those to other questions, wordy or badly tagged."""
        tasks = [task for task in self.tasks("train") if task.answer is not None]
        while tasks:
            task = rng.choice(tasks)
            answered = rng.choice(tasks) if rng.random() < _WRONG_SHARE else task
            yield task, self._demonstration(answered.answer or "", rng)

    def _demonstration(self, answer: str, rng: Random) -> str:
        thought = _SENTENCE * rng.randint(0, _MOST_SENTENCES)
        if rng.random() < self.format_rate:
            return _reply(thought, answer)
        return rng.choice(
            (
                f"<think>{thought}<answer>{answer}</answer>",
                f"{thought}<answer>{answer}</answer>",
                f"<think>{thought}</think>{answer}",
            )
        )


def _datasets() -> dict[str, tuple[type, type]]:
    """The package's tasks by name, each with the class of its options."""
    _package()
    found: dict[str, tuple[type, type]] = importlib.import_module("reasoning_gym.factory").DATASETS
    return found


def _package() -> Any:
    try:
        return importlib.import_module("reasoning_gym")
    except ModuleNotFoundError as error:
        raise UnavailableError("reasoning_gym:… needs a package: pip install reasoning-gym==0.1.25") from error


def _reply(thought: str, answer: str) -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def _answer(reply: str) -> str:
    """What stands in the last `<answer>…</answer>`, or ""."""
    before, closed, _ = reply.rpartition("</answer>")
    _, opened, answer = before.rpartition("<answer>")
    return answer.strip() if closed and opened else ""
