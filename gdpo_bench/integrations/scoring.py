"""Replies scored by task id: what another trainer needs of an environment.

A trainer hands back a reply, and what the data set said of its prompt: the environment's id and options,
and the task's id. Every process finds the same task again by them, as an id is a hash of the task's content.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdpo_bench.core.env import TextEnv, tasks_of
from gdpo_bench.core.errors import UnavailableError, UnknownNameError
from gdpo_bench.core.registry import make_env, spec
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.scoring import EpisodeBatch, Scores
from gdpo_bench.core.task import Task, canonical_json
from gdpo_bench.core.vector_env import check_replies
from gdpo_bench.integrations.errors import IntegrationError


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
    """The rewards of an environment, for replies to tasks that are named by id. Threads take turns."""

    env_id: str
    reward_specs: tuple[RewardSpec, ...]
    """The K declarations, in the order of the reward vector."""

    def __init__(self, env_id: str, options: Mapping[str, Any] | None = None) -> None:
        """Make the environment; tasks are read when one is asked for.

        Args:
            env_id: A registered id, or `module:namespace/Name-v0`.
            options: The environment's options.

        Raises:
            UnknownNameError: No such id or option.
            IntegrationError: The environment has several turns.
            UnavailableError: What its rewards need is not there on this machine.
        """
        self.env = make_env(env_id, **(options or {}))
        self.env_id = spec(env_id).id
        self.reward_specs = self.env.reward_specs
        check_one_turn(self.env, self.env_id)
        if lacking := self.env.unavailable():
            raise UnavailableError(f"{self.env_id}: {lacking}")
        self._unread = list(self.env.splits)
        self._tasks: dict[str, Task] = {}
        self._lock = threading.RLock()

    def task(self, task_id: str) -> Task:
        """The task with an id, of whichever split.

        Raises:
            UnknownNameError: No split has it.
        """
        with self._lock:
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
            ReplyError: A reply that is not a text, or not one for each task.
            RewardError: A reward is not what its declaration allows.
        """
        with self._lock:
            episodes = EpisodeBatch(self.env, self.env_id, [self.task(task_id) for task_id in task_ids])
            return episodes.play(check_replies(replies, len(task_ids), self.env_id))

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
            _scorers[key] = Scorer(env_id, found)
        return _scorers[key]
