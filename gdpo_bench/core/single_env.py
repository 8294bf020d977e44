"""One rollout as a `gymnasium.Env` with a vector reward, as MO-Gymnasium defines it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.registry import make_env
from gdpo_bench.core.scalar_callers import refuse_scalar_callers
from gdpo_bench.core.spaces import Unicode
from gdpo_bench.core.vector_env import GroupVectorEnv, Info


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
            DeclarationError: It is made for something that takes one number a rollout.
        """
        refuse_scalar_callers(env_id)
        self.metadata = {"render_modes": []}
        self.env_id = env_id
        self._vector = GroupVectorEnv(make_env(env_id, **options), env_id, 1, 1, split)
        self.text_env, self.tasks = self._vector.text_env, self._vector.tasks
        self.reward_specs = self._vector.reward_specs
        self.reward_space, self.reward_dim = self._vector.reward_space, self._vector.reward_dim
        self.observation_space = Unicode()
        self.action_space = Unicode()
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        """Begin an episode on the next task.

        Args:
            seed: Fixes the order of tasks from here on.
            options: `{"task_id": …}` chooses the task.

        Returns:
            The prompt, and `info` with `messages` and `task_id`.
        """
        super().reset(seed=seed)
        chosen = (options or {}).get("task_id")
        observations, info = self._vector.reset(seed=seed, options=None if chosen is None else {"task_ids": [chosen]})
        return observations[0], _first(info)

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
        refuse_scalar_callers(self.env_id)
        observations, rewards, terminated, truncated, info = self._vector.step([action])
        components = {name: float(values[0]) for name, values in info["reward_components"].items()}
        rows = {name: info[name][0] for name in ("applicable", "failed", "raw")}
        found = _first(info) | {"reward_components": components} | rows | {"failures": info["failures"]}
        return observations[0], rewards[0], bool(terminated[0]), bool(truncated[0]), found


def _first(info: Info) -> Info:
    return {"messages": info["messages"][0], "task_id": str(info["task_id"][0])}
