"""The vector environment: P prompts × G rollouts, one reward vector each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.env import TextEnv, reward_functions_of
from gdpo_bench.core.errors import DeclarationError, ReplyError, UnknownNameError
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.scalar_callers import refuse_scalar_callers
from gdpo_bench.core.scoring import EpisodeBatch, Scores
from gdpo_bench.core.spaces import Unicode, reward_space
from gdpo_bench.core.task import Message, TaskT

Info = dict[str, Any]
Replies = Sequence[str]


class GroupVectorEnv(VectorEnv[tuple[str, ...], Replies, NDArray[Any]]):
    """N = P·G rollouts of P prompts; rollouts of a prompt are adjacent (prompt-major).

    There is no automatic reset: after all episodes are over, `reset()` brings the next P tasks.

    Attributes:
        num_prompts: P.
        group_size: G.
        reward_specs: The K rewards' declarations, in the order of the reward vector.
        reward_space: Box (K,), of one rollout, as MO-Gymnasium's wrappers read it.
        reward_dim: K.
    """

    def __init__(
        self, env: TextEnv[Any], env_id: str, num_prompts: int, group_size: int, split: str | None = None
    ) -> None:
        """Wrap an author's environment; users call `gdpo_bench.make_vec`.

        Args:
            env: The author's environment.
            env_id: Its id, for messages.
            num_prompts: P, at least 1.
            group_size: G, at least 1.
            split: Which tasks to draw from; by default the first of the environment's splits.

        Raises:
            DeclarationError: P or G is not a positive integer, or the split is empty.
            UnknownNameError: There is no such split.
        """
        for name, value in (("num_prompts", num_prompts), ("group_size", group_size)):
            if not isinstance(value, int) or value < 1:
                raise DeclarationError(f"{env_id}: {name} must be a positive integer; got {value!r}.")
        self.text_env = env
        self.env_id = env_id
        self.num_prompts, self.group_size = num_prompts, group_size
        self.num_envs = num_prompts * group_size
        self.split = split or env.splits[0]
        self.tasks = tasks_of(env, self.split, env_id)
        self._functions = reward_functions_of(env)
        self.reward_specs: tuple[RewardSpec, ...] = tuple(function.spec for function in self._functions)
        self.reward_space = reward_space(self.reward_specs)
        self.reward_dim = len(self.reward_specs)
        self.single_observation_space = Unicode()
        self.single_action_space = Unicode()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self._skipped = (0, 0)
        """Tasks that a reset draws for others, before and after its own."""
        self._queue: TaskQueue[Any] | None = None
        self._batch: EpisodeBatch | None = None

    def keep_tasks(self, wanted: Callable[[Any], bool]) -> None:
        """Draw only some of the tasks from now on; before the first reset.

        Args:
            wanted: Whether a task stays.

        Raises:
            DeclarationError: None does.
        """
        kept = [task for task in self.tasks if wanted(task)]
        if not kept:
            raise DeclarationError(f"{self.env_id}: none of {len(self.tasks)} tasks of split {self.split!r} is left.")
        self.tasks = kept

    def shard(self, rank: int, size: int) -> GroupVectorEnv:
        """The part of one of several processes that play these P prompts together.

        All of them draw the same tasks in the same order, given the same seeds, and each plays P / size of them;
        their parts one after the other are what one process would play.

        Args:
            rank: Number of the part, from 0.
            size: How many parts; 1 gives this environment itself.

        Raises:
            DeclarationError: P is not a multiple of `size`.
        """
        if size == 1:
            return self
        if self.num_prompts % size:
            raise DeclarationError(
                f"{self.env_id}: {self.num_prompts} prompts cannot be shared evenly by {size} processes; choose a "
                f"multiple of {size}."
            )
        own = self.num_prompts // size
        part = GroupVectorEnv(self.text_env, self.env_id, own, self.group_size, self.split)
        part._skipped = (rank * own, (size - 1 - rank) * own)
        return part

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[tuple[str, ...], Info]:
        """Begin N episodes on the next P tasks.

        Args:
            seed: Fixes the order of tasks from here on.
            options: `{"task_ids": [...]}` chooses the P tasks instead of drawing them.

        Returns:
            The N prompts, and `info` with `messages`, `group` (N,) and `task_id` (N,).

        Raises:
            DeclarationError: `task_ids` are not P many, or a wrapper calls that takes one number a rollout.
            UnknownNameError: A task id that the split does not hold.
        """
        if self._batch is None:  # training resets at every step
            refuse_scalar_callers(self.env_id)
        super().reset(seed=seed)
        if seed is not None or self._queue is None:
            self._queue = TaskQueue(self.tasks, self.np_random)
        chosen = (options or {}).get("task_ids")
        if chosen is None:
            before, after = self._skipped
            prompts = self._queue.take(before + self.num_prompts + after)[before : before + self.num_prompts]
        elif len(chosen) == self.num_prompts:
            prompts = pick(self.tasks, chosen)
        else:
            raise DeclarationError(
                f"{self.env_id}: options['task_ids'] must name {self.num_prompts} tasks; got {len(chosen)}."
            )
        tasks = [task for task in prompts for _ in range(self.group_size)]
        self._batch = EpisodeBatch(self.text_env, self.env_id, tasks, self._functions)
        return self._batch.observations, self._info(self._batch)

    def step(
        self, actions: Replies
    ) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Score one reply for each rollout.

        Args:
            actions: N replies; those of rollouts that are over are ignored.

        Returns:
            Observations (N texts), rewards float64 (N, K) of this turn, `terminated` (N,),
            `truncated` (N,), and `info`: as from `reset`, with `reward_components` (name → (N,)),
            `applicable` and `failed` (N, K), `raw` (N, K) before gates, and `failures`.

        Raises:
            ReplyError: Not N texts.
            RewardError: A reward is not what its declaration allows.
        """
        scores = self.score(actions)
        info = self._info(self._episodes) | {
            "reward_components": {spec.name: scores.values[:, k].copy() for k, spec in enumerate(self.reward_specs)},
            "applicable": scores.applicable,
            "failed": scores.failed,
            "raw": scores.raw,
            "failures": scores.failures,
        }
        episodes = self._episodes
        return episodes.observations, scores.values, episodes.terminated, episodes.truncated, info

    def score(self, replies: Replies) -> Scores:
        """Score one reply for each rollout, and let the environment answer: `step` without Gymnasium's forms.

        Args:
            replies: N replies; those of rollouts that are over are ignored.

        Returns:
            Rewards (N, K) of this turn.

        Raises:
            ReplyError: Not N texts.
            RewardError: A reward is not what its declaration allows.
        """
        if self.over.all():
            raise gym.error.ResetNeeded(
                f"{self.env_id}: all episodes are over; reset() begins the next ones, which no step does."
            )
        return self._episodes.play(check_replies(replies, self.num_envs, self.env_id))

    @property
    def over(self) -> NDArray[np.bool_]:
        """(N,), True where the episode takes no more replies."""
        return self._episodes.terminated | self._episodes.truncated

    @property
    def messages(self) -> list[list[Message]]:
        """Fresh copies of the N conversations."""
        return self._episodes.messages()

    @property
    def _episodes(self) -> EpisodeBatch:
        if self._batch is None:
            raise gym.error.ResetNeeded(f"{self.env_id}: call reset() before step().")
        return self._batch

    def queue_state(self) -> dict[str, Any]:
        """Where the drawing of tasks stands, as JSON, for `restore_queue`."""
        left = self._queue.left if self._queue else None
        return {"rng": self.np_random.bit_generator.state, "left": left}

    def restore_queue(self, state: dict[str, Any]) -> None:
        """Go on drawing tasks where another environment of the same tasks stood.

        Args:
            state: What its `queue_state` gave.
        """
        self.np_random.bit_generator.state = state["rng"]
        self._queue = None if state["left"] is None else TaskQueue(self.tasks, self.np_random, state["left"])

    def _info(self, batch: EpisodeBatch) -> Info:
        return {
            "messages": batch.messages(),
            "group": np.repeat(np.arange(self.num_prompts), self.group_size),
            "task_id": np.array([episode.task.id for episode in batch.episodes]),
        }

    def __repr__(self) -> str:
        return f"GroupVectorEnv({self.env_id}, num_prompts={self.num_prompts}, group_size={self.group_size})"


def check_replies(replies: Any, count: int, env_id: str) -> list[str]:
    """The replies as a list.

    Raises:
        ReplyError: Not `count` texts.
    """
    if isinstance(replies, str) or not isinstance(replies, Sequence | np.ndarray):
        raise ReplyError(f"{env_id}: step expects a list of {count} replies; got {type(replies).__name__}.")
    if len(replies) != count:
        raise ReplyError(f"{env_id}: step expects one reply a rollout, {count} in all; got {len(replies)}.")
    for i, reply in enumerate(replies):
        if not isinstance(reply, str):
            raise ReplyError(f"{env_id}: reply {i} must be a text; got {type(reply).__name__}.")
    return list(replies)


class TaskQueue(Generic[TaskT]):
    """Tasks in random order, without repetition until all were seen; then in a new order."""

    def __init__(self, tasks: Sequence[TaskT], rng: np.random.Generator, left: Sequence[int] = ()) -> None:
        self._tasks = tasks
        self._rng = rng
        self.left = list(left)
        """Indices of the tasks that are still to come, the next one last."""

    def take(self, count: int) -> list[TaskT]:
        """The next tasks."""
        return [self._tasks[self._next()] for _ in range(count)]

    def _next(self) -> int:
        if not self.left:
            self.left = self._rng.permutation(len(self._tasks)).tolist()[::-1]
        return self.left.pop()


def pick(tasks: Sequence[TaskT], ids: Sequence[str]) -> list[TaskT]:
    """The tasks with the given ids, in that order.

    Raises:
        UnknownNameError: An id that the split does not hold.
    """
    by_id = {task.id: task for task in tasks}
    for task_id in ids:
        if task_id not in by_id:
            raise UnknownNameError("task id", task_id, list(by_id)[:5], f"(The split has {len(by_id)} tasks.)")
    return [by_id[task_id] for task_id in ids]
