"""Replies scored by task id: what another trainer needs of an environment.

A trainer hands back a reply, and what the data set said of its prompt: the environment's id and options,
and the task's id. Every process finds the same task again by them, as an id is a hash of the task's content.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from gdpo_bench.core.calls import RewardCalls
from gdpo_bench.core.env import TextEnv, reward_functions_of, tasks_of
from gdpo_bench.core.errors import UnavailableError, UnknownNameError
from gdpo_bench.core.registry import make_env, spec
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.scoring import EpisodeBatch, Scores
from gdpo_bench.core.task import Task, canonical_json
from gdpo_bench.core.vector_env import check_replies
from gdpo_bench.integrations.errors import IntegrationError

T = TypeVar("T")


@dataclass(frozen=True)
class NamedRewards:
    """The rewards of one rollout by name, all of the environment's in each."""

    values: dict[str, float]
    """With gates applied; finite, 0.0 where not applicable or failed."""
    applicable: dict[str, bool]
    """Whether the reward says something of the task."""
    failed: dict[str, bool]
    """Whether the reward function raised."""


class Scorer:
    """The rewards of an environment, for replies to tasks that are named by id.

    Threads that ask at once are served side by side; they take turns where the environment says that it is not safe for
    threads, by `reward_workers = 1`.
    """

    env_id: str
    reward_specs: tuple[RewardSpec, ...]
    """The K declarations, in the order of the reward vector."""
    calls: RewardCalls
    """What calls the reward functions."""

    def __init__(self, env_id: str, options: Mapping[str, Any] | None = None) -> None:
        """Make the environment; tasks are read when one is asked for.

        Args:
            env_id: A registered id, or `module:namespace/Name-v0`.
            options: The environment's options.

        Raises:
            UnknownNameError: No such id or option.
            UnavailableError: What its rewards need is not there on this machine.
        """
        self.env = make_env(env_id, **(options or {}))
        self.env_id = spec(env_id).id
        self._functions = reward_functions_of(self.env)
        self.reward_specs = tuple(function.spec for function in self._functions)
        if lacking := self.env.unavailable():
            raise UnavailableError(f"{self.env_id}: {lacking}")
        self._unread = list(self.env.splits)
        self._tasks: dict[str, Task] = {}
        self._reading = threading.Lock()
        self.calls = RewardCalls(self.env, self.env_id)
        self._turn = threading.Lock() if self.env.reward_workers == 1 else nullcontext()

    def task(self, task_id: str) -> Task:
        """The task with an id, of whichever split.

        Raises:
            IntegrationError: The id is no text; None mostly stands for a prompt of another data set.
            UnknownNameError: No split has it.
        """
        if not isinstance(task_id, str):
            raise IntegrationError(
                f"{self.env_id} finds a task by its id, a text, and {task_id!r} came. Is that a prompt of another data "
                "set? None of this environment's rewards is about it."
            )
        with self._reading:
            while task_id not in self._tasks and self._unread:
                self._tasks.update((task.id, task) for task in tasks_of(self.env, self._unread.pop(0)))
        if task_id not in self._tasks:
            raise UnknownNameError(
                f"task id of {self.env_id}",
                task_id,
                list(self._tasks)[:5],
                f"({len(self._tasks)} tasks in all; was the data set written with these options and this version?)",
            )
        return self._tasks[task_id]

    def __call__(self, task_ids: Sequence[str], replies: Sequence[str]) -> Scores:
        """The rewards of N replies, (N, K).

        Args:
            task_ids: What each reply answers, (N,).
            replies: N texts.

        Raises:
            UnknownNameError: A task id that the environment does not have.
            IntegrationError: A task id that is no text.
            ReplyError: A reply that is not a text, or not one for each task.
            RewardError: A reward is not what its declaration allows.
        """
        replies = check_replies(replies, len(task_ids), self.env_id)
        with self._turn:
            tasks = [self.task(task_id) for task_id in task_ids]
            return EpisodeBatch(self.env, self.env_id, tasks, self._functions, calls=self.calls).play(replies)

    def named(self, task_id: str, reply: str) -> NamedRewards:
        """The rewards of one reply by name; raises what calling raises."""
        scores = self([task_id], [reply])
        names = [spec.name for spec in self.reward_specs]
        return NamedRewards(
            *(
                dict(zip(names, rows[0].tolist(), strict=True))
                for rows in (scores.values, scores.applicable, scores.failed)
            )
        )


def check_one_turn(env: TextEnv[Any], env_id: str) -> None:
    """Refuse a dialogue, of which the trainer would hand over a single reply.

    Raises:
        IntegrationError: The environment has several turns.
    """
    if env.max_turns > 1:
        raise IntegrationError(
            f"{env_id} is a dialogue of up to {env.max_turns} turns, and this trainer's rewards see single replies. "
            f"Choose an environment of one turn, or train with `python -m gdpo_bench.run --envs {env_id}`."
        )


def read_options(text: str) -> dict[str, Any]:
    """Options from their JSON.

    Raises:
        IntegrationError: It is not a JSON object.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise IntegrationError(f"Options must be a JSON object such as {{}}; got {text!r}: {error}.") from error
    if not isinstance(found, dict):
        raise IntegrationError(f"Options must be a JSON object such as {{}}; got {text!r}.")
    return found


_threads = ThreadPoolExecutor(256, "scoring")
"""Of their own, as an event loop's have about one a core, and these mostly wait."""


async def beside(function: Callable[..., T], *arguments: Any) -> T:
    """What a function returns that scores a reply, without holding up the event loop or the others that it scores."""
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)


_scorers: dict[tuple[str, str], Scorer] = {}
_making = threading.Lock()


def scorer(env_id: str, options: Mapping[str, Any] | str | None = None) -> Scorer:
    """The scorer of an environment with given options, made once a process.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        options: The environment's options, or their JSON.

    Raises:
        UnknownNameError: No such id or option.
        IntegrationError: The environment has several turns.
        UnavailableError: What its rewards need is not there on this machine.
    """
    found = read_options(options) if isinstance(options, str) else dict(options or {})
    key = (env_id, canonical_json(found))
    with _making:
        if key not in _scorers:
            made = Scorer(env_id, found)
            check_one_turn(made.env, made.env_id)
            _scorers[key] = made
        return _scorers[key]
