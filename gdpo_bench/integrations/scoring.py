"""Replies scored by task id: what another trainer needs of an environment.

A trainer hands back a reply, and what the data set said of its prompt: the environment's id and options,
and the task's id. Every process finds the same task again by them, as an id is a hash of the task's content.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.calls import RewardCalls
from gdpo_bench.core.env import TextEnv, reward_functions_of
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
    failures: list[str]
    """What went wrong, in words."""

    @classmethod
    def of(cls, scores: Scores, specs: Sequence[RewardSpec]) -> NamedRewards:
        """Those of a single rollout, whose K rewards are declared so."""
        values, applicable, failed = (
            dict(zip((spec.name for spec in specs), rows[0].tolist(), strict=True))
            for rows in (scores.values, scores.applicable, scores.failed)
        )
        return cls(values, applicable, failed, [str(failure) for failure in scores.failures])

    def known(self) -> dict[str, float | None]:
        """The values; None where not applicable or failed."""
        return {
            name: value if self.applicable[name] and not self.failed[name] else None
            for name, value in self.values.items()
        }


class Scorer:
    """The rewards of an environment, for replies to tasks that are named by id.

    Threads that ask at once are served side by side; they take turns where the environment says that it is not safe for
    threads, by `reward_workers = 1`.
    """

    env_id: str
    reward_specs: tuple[RewardSpec, ...]
    """The K declarations, in the order of the reward vector."""
    turn: AbstractContextManager[Any]
    """Entered by whoever plays replies: a lock where the environment is not safe for threads."""

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
        self._calls = RewardCalls(self.env, self.env_id)
        self.turn = threading.Lock() if self.env.reward_workers == 1 else nullcontext()

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

    def begin(self, task_ids: Sequence[str]) -> EpisodeBatch:
        """Episodes of tasks, (N,), whose rewards are called by what all episodes share; to be played in its `turn`.

        Raises:
            UnknownNameError: A task id that the environment does not have.
            IntegrationError: A task id that is no text.
        """
        tasks = [self.task(task_id) for task_id in task_ids]
        return EpisodeBatch(self.env, self.env_id, tasks, self._functions, calls=self._calls)

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
        with self.turn:
            return self.begin(task_ids).play(replies)

    def named(self, task_id: str, reply: str) -> NamedRewards:
        """The rewards of one reply by name; raises what calling raises."""
        return NamedRewards.of(self([task_id], [reply]), self.reward_specs)


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


def refuse_names(env_id: str, specs: Sequence[RewardSpec], taken: AbstractSet[str], what: str) -> None:
    """Refuse rewards that are called like something of the other library's.

    Args:
        env_id: The environment's id.
        specs: Its rewards.
        taken: The names.
        what: What has them, in words.

    Raises:
        IntegrationError: A reward has such a name.
    """
    if found := sorted(taken & {spec.name for spec in specs}):
        raise IntegrationError(
            f"{env_id} has a reward named {', '.join(map(repr, found))}, which {what}; rename the reward."
        )


def weights_in_order(of: str, specs: Sequence[RewardSpec], weights: Mapping[str, float] | None) -> list[float]:
    """The K weights in the order of the specs: declared ones, but for those given by name.

    Args:
        of: Whose rewards they are, for messages.
        specs: The K rewards.
        weights: Reward → weight.

    Raises:
        UnknownNameError: A weight for a reward that does not exist.
    """
    known = {spec.name: spec.weight for spec in specs}
    for name in weights or {}:
        if name not in known:
            raise UnknownNameError(f"reward of {of} in weights", name, known)
    return [float(weight) for weight in (known | dict(weights or {})).values()]


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


def scorer(env_id: str, options: Mapping[str, Any] | str | None = None, *, several_turns: bool = False) -> Scorer:
    """The scorer of an environment with given options, made once a process.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        options: The environment's options, or their JSON.
        several_turns: Whether it may be a dialogue.

    Raises:
        UnknownNameError: No such id or option.
        IntegrationError: The environment has several turns, and may not.
        UnavailableError: What its rewards need is not there on this machine.
    """
    found = read_options(options) if isinstance(options, str) else dict(options or {})
    key = (env_id, canonical_json(found))
    with _making:
        if key not in _scorers:
            _scorers[key] = Scorer(env_id, found)
        made = _scorers[key]
    if not several_turns:
        check_one_turn(made.env, made.env_id)
    return made
