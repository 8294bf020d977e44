"""One rollout as a `gymnasium.Env` with a vector reward, as MO-Gymnasium defines it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.env import tasks_of
from gdpo_bench.core.episodes import EpisodeBatch, TaskQueue, pick
from gdpo_bench.core.registry import make_env
from gdpo_bench.core.spaces import Unicode, reward_space
from gdpo_bench.core.vector_env import Info, check_replies


class RolloutEnv(gym.Env[str, str]):
    """What `gymnasium.make("gdpo/…")` returns; `step` gives a reward vector (K,).

    Attributes:
        reward_space: Box (K,).
        reward_dim: K.
    """

    def __init__(self, env_id: str, split: str | None = None, render_mode: str | None = None, **options: Any) -> None:
        """Make the environment of a registered id.

        Args:
            env_id: The id.
            split: Which tasks to draw from; by default the first of the environment's splits.
            render_mode: None; texts need no rendering.
            **options: The environment's own options.

        Raises:
            UnknownNameError: No such id, split or option.
        """
        self.metadata = {"render_modes": []}
        self.env_id = env_id
        self.text_env = make_env(env_id, **options)
        self.tasks = tasks_of(self.text_env, split or self.text_env.splits[0], env_id)
        self.reward_specs = tuple(self.text_env.reward_specs)
        self.reward_space = reward_space(self.reward_specs)
        self.reward_dim = len(self.reward_specs)
        self.observation_space = Unicode()
        self.action_space = Unicode()
        self.render_mode = render_mode
        self._queue: TaskQueue[Any] | None = None
        self._batch: EpisodeBatch | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        """Begin an episode on the next task.

        Args:
            seed: Fixes the order of tasks from here on.
            options: `{"task_id": …}` chooses the task.

        Returns:
            The prompt, and `info` with `messages` and `task_id`.
        """
        super().reset(seed=seed)
        if seed is not None or self._queue is None:
            self._queue = TaskQueue(self.tasks, self.np_random)
        chosen = (options or {}).get("task_id")
        task = self._queue.take(1)[0] if chosen is None else pick(self.tasks, [chosen])[0]
        self._batch = EpisodeBatch(self.text_env, self.env_id, [task])
        return self._batch.observations[0], self._info(self._batch)

    def step(self, action: str) -> tuple[str, NDArray[np.float64], bool, bool, Info]:
        """Score a reply.

        Args:
            action: The reply.

        Returns:
            Observation, rewards float64 (K,), `terminated`, `truncated`, and `info` with
            `reward_components`, `applicable`, `failed` and `raw` of this turn.

        Raises:
            ReplyError: The reply is not a text.
            RewardError: A reward is not what its declaration allows.
        """
        if self._batch is None:
            raise gym.error.ResetNeeded(f"{self.env_id}: call reset() before step().")
        if self._batch.episodes[0].over:
            raise gym.error.ResetNeeded(f"{self.env_id}: the episode is over; reset() begins the next one.")
        scores = self._batch.play(check_replies([action], 1, self.env_id))
        info = self._info(self._batch) | {
            "reward_components": {spec.name: float(scores.values[0, k]) for k, spec in enumerate(self.reward_specs)},
            "applicable": scores.applicable[0],
            "failed": scores.failed[0],
            "raw": scores.raw[0],
            "failures": scores.failures,
        }
        episode = self._batch.episodes[0]
        return episode.observation, scores.values[0], episode.terminated, episode.truncated, info

    def _info(self, batch: EpisodeBatch) -> Info:
        return {"messages": batch.messages()[0], "task_id": batch.episodes[0].task.id}
