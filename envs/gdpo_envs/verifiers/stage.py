"""An episode of verifiers, from the task to its rewards: an Env lets the policy's agent play."""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import Any

import verifiers.v1 as vf
from verifiers.v1.agent import Agents
from verifiers.v1.clients import EvalClientConfig, ModelContext
from verifiers.v1.configs.agent import agent_config_fields

from gdpo_envs.verifiers.policy import MODEL, Asking, Policy, Seat
from gdpo_envs.verifiers.scoring import Outcome, exits
from gdpo_envs.verifiers.tools import Served

DEFAULT_TURNS = 8
logging.getLogger("verifiers.v1.rollout").setLevel(logging.CRITICAL)  # what fails is told by us, and not once a rollout


class Stage:
    """Where the tasks of a taskset are played, any number at a time."""

    def __init__(self, taskset: Any, env: Any, max_turns: int | None) -> None:
        """Nothing is started yet.

        Args:
            taskset: Whose tasks.
            env: The module's own Env; None for the one that runs an agent once.
            max_turns: Replies of an episode; None for what the Env says of its agent.
        """
        if env is None:
            env = object.__new__(vf.SingleAgentEnv)  # whose constructor would load the taskset again, by a name
            env.config, env.taskset = vf.SingleAgentEnvConfig(), taskset
        ((self._seat, self._agent),) = agent_config_fields(env.config).items()
        self.max_turns = max_turns or self._agent.max_turns or DEFAULT_TURNS
        self._env, self._taskset = env, taskset
        self._shared: asyncio.Task[list[Served]] | None = None

    async def play(self, task: Any, exchange: Asking) -> Outcome:
        """An episode of a task.

        Raises:
            RuntimeError: The task's hooks, a tool or the Env raised something.
        """
        try:
            return await self._play(task, exchange)
        except SystemExit as error:
            raise exits(error) from error

    async def _play(self, task: Any, exchange: Asking) -> Outcome:
        policy = Policy(exchange, await self._shared_tools())
        env = copy.copy(self._env)
        seat = self._agent.model_copy(update={"max_turns": self.max_turns})
        env._episode_agents = lambda context, completed, *_: Agents(
            env.config, lambda name, config: Seat(name, seat, policy, completed)
        )
        context = ModelContext(model=MODEL, client=EvalClientConfig())
        episode = await env.run_episode(task, context)
        if errors := [*episode.errors, *(trace.last_error for trace in episode.traces if not trace.ok)]:
            raise RuntimeError(f"{errors[0].type}: {errors[0].message}")
        if len(episode.traces) != 1:
            raise RuntimeError(f"run() let its agent play {len(episode.traces)} times, and an episode here is one play")
        (trace,) = episode.traces
        return self._outcome(trace, policy.outcomes[trace.id])

    def _outcome(self, trace: vf.Trace, scored: Outcome) -> Outcome:
        """The task's rewards, and those that the Env has recorded beside them."""
        recorded = {name: one for name, one in trace.rewards.items() if one is not None}
        for name, one in recorded.items():
            if name not in scored and one.weight != 1:
                raise RuntimeError(f"the Env recorded {name!r} with weight {one.weight:g}; here it weighs 1")
        return scored | {name: one.score for name, one in recorded.items()}

    async def _shared_tools(self) -> list[Served]:
        """The taskset's toolsets, set up once for all episodes."""
        if self._shared is None:
            self._shared = asyncio.create_task(self._serve_all())
        return await asyncio.shield(self._shared)

    async def _serve_all(self) -> list[Served]:
        return [await Served.start(toolset) for toolset in type(self._taskset).toolsets(self._taskset.config)]
