"""A server of OpenEnv that plays our environments, of one turn or of several.

- `reset(split=…, index=…)` or `reset(task_id=…)` takes a task; without them the seed draws one of the first split.
- An observation shows the messages so far. After a step its metadata have `rewards`, name → value with gates applied,
  or None where the reward is not applicable or its scorer failed, which `failed` tells apart.
- OpenEnv has one number a step: `reward` is the weighted sum of the rewards, where None counts as nothing. In several
  turns rewards add up over the steps, and so does the number.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from openenv.core.env_server import Action, Environment, Observation, State, create_app
from openenv.core.env_server.types import EnvironmentMetadata
from pydantic import Field

import gdpo_bench
from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.errors import ReplyError, UnknownNameError
from gdpo_bench.core.scoring import EpisodeBatch
from gdpo_bench.core.task import Task
from gdpo_bench.core.vector_env import check_replies
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import NamedRewards, Scorer

SESSIONS = 64
"""Episodes that are played side by side."""


class Reply(Action):  # type: ignore[misc, unused-ignore]
    """What a policy replies."""

    reply: str


class Shown(Observation):  # type: ignore[misc, unused-ignore]
    """What a policy is shown."""

    messages: list[dict[str, str]] = Field(description="The chat so far, the policy's replies included")


class Played(Environment):  # type: ignore[misc, unused-ignore]
    """One session: an episode at a time of an environment that all sessions share, and play side by side."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, scorer: Scorer, weights: Mapping[str, float]) -> None:
        """Wait for a reset.

        Args:
            scorer: Of the environment.
            weights: Reward → weight in the sum.
        """
        super().__init__()
        self._scorer, self._weights = scorer, weights
        self._env, self._env_id = scorer.env, scorer.env_id
        self._batch: EpisodeBatch | None = None
        self._state = State()

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
        task_id: str | None = None,
    ) -> Shown:
        """Begin an episode.

        Args:
            seed: Draws the task, if none is named.
            episode_id: The caller's name for it.
            split: Which tasks; by default the first of the environment's splits.
            index: The task's place in the split.
            task_id: The task's id.

        Raises:
            UnknownNameError: No such split, index or task.
        """
        tasks = tasks_of(self._env, split or self._env.splits[0], self._env_id)
        task = _chosen(tasks, seed, index, task_id)
        self._batch = self._scorer.begin([task.id])
        self._state = State(episode_id=episode_id or uuid.uuid4().hex, task_id=task.id)
        return self._shown(metadata={"task_id": task.id})

    def step(self, action: Reply, timeout_s: float | None = None) -> Shown:
        """Answer a reply, and score it.

        Raises:
            ReplyError: The episode has not begun, or is over.
            RewardError: A reward is not what its declaration allows.
        """
        if self._batch is None or self._batch.episodes[0].over:
            raise ReplyError(f"{self._env_id}: call reset() first; no episode has begun, or it is over.")
        with self._scorer.turn:
            scores = self._batch.play(check_replies([action.reply], 1, self._env_id))
        self._state = State(**{**self._state.model_dump(), "step_count": self._state.step_count + 1})
        rewards = NamedRewards.of(scores, self._scorer.reward_specs).known()
        return self._shown(
            reward=sum(self._weights[name] * value for name, value in rewards.items() if value is not None),
            metadata={
                "task_id": self._batch.episodes[0].task.id,
                "rewards": rewards,
                "weights": dict(self._weights),
                "failed": {str(failure.reward): str(failure) for failure in scores.failures},
            },
        )

    def _shown(self, **fields: Any) -> Shown:
        assert self._batch is not None
        (messages,), (episode,) = self._batch.messages(), self._batch.episodes
        return Shown(messages=[dict(message) for message in messages], done=episode.over, **fields)

    @property
    def state(self) -> State:
        """The episode's id, its task and its steps."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        """What the environment is called, and its rewards."""
        rewards = "; ".join(f"{spec.name} [{spec.low:g}, {spec.high:g}]" for spec in self._env.reward_specs)
        return EnvironmentMetadata(name=self._env_id, description=f"Rewards: {rewards}", version=gdpo_bench.__version__)

    def list_splits(self) -> list[str]:
        """The environment's splits."""
        return list(self._env.splits)

    def num_tasks(self, split: str) -> int:
        """How many tasks a split has."""
        return len(tasks_of(self._env, split, self._env_id))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """What `reset(split, index)` would begin with."""
        task = tasks_of(self._env, split, self._env_id)[index]
        return {"id": task.id, "index": index, "prompt": task.prompt}

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, Any]]:
        """Those from `start` to before `stop`."""
        return [self.get_task(split, index) for index in range(self.num_tasks(split))[start:stop]]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """All of a split."""
        return self.get_task_range(split)


def make_app(env_id: str, options: Mapping[str, Any], weights: Mapping[str, float]) -> Any:
    """A server of OpenEnv for an environment, as an application of FastAPI.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        options: The environment's options.
        weights: Reward → weight in the sum; all of the environment's rewards.

    Raises:
        UnknownNameError: No such id or option, or a weight for a reward that does not exist.
        IntegrationError: A reward without a weight.
        UnavailableError: What the rewards need is not there on this machine.
    """
    scorer = Scorer(env_id, options)
    names = [spec.name for spec in scorer.reward_specs]
    for name in weights:
        if name not in names:
            raise UnknownNameError(f"reward of {env_id} in WEIGHTS", name, names)
    if lacking := [name for name in names if name not in weights]:
        raise IntegrationError(f"{env_id}: WEIGHTS must name every reward; {', '.join(lacking)} is missing.")
    make = partial(Played, scorer, weights)
    return create_app(make, Reply, Shown, env_name=env_id, max_concurrent_envs=SESSIONS)


def _chosen(tasks: Sequence[Task], seed: int | None, index: int | None, task_id: str | None) -> Task:
    if task_id is not None:
        found = next((task for task in tasks if task.id == task_id), None)
        if found is None:
            raise UnknownNameError("task id in this split", task_id, [task.id for task in tasks[:5]])
        return found
    if index is not None and not 0 <= index < len(tasks):
        raise UnknownNameError("index of a task", str(index), [f"0 to {len(tasks) - 1}"])
    return tasks[Random(seed).randrange(len(tasks)) if index is None else index]
