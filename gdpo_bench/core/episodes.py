"""Episodes of one or more turns, played side by side. Vector and single environment share this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.env import TextEnv, Turn, reward_functions_of
from gdpo_bench.core.errors import RewardError, UnknownNameError
from gdpo_bench.core.rewards import RewardFunction
from gdpo_bench.core.scoring import Scores, ScoringFailure, score
from gdpo_bench.core.task import Message, Task, TaskT


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


class Episode:
    """One rollout: its task, its transcript, and how far it is."""

    def __init__(self, env: TextEnv[Any], task: Task) -> None:
        self.task = task
        self.state = env.begin(task)
        self.transcript: list[Message] = [dict_copy(m) for m in env.messages(task)]
        self.observation = "\n\n".join(message["content"] for message in self.transcript)
        self.turns = 0
        self.terminated = False
        self.truncated = False

    @property
    def over(self) -> bool:
        """Whether the episode takes no more replies."""
        return self.terminated or self.truncated

    def advance(self, env: TextEnv[Any], reply: str) -> Turn[Any]:
        """Let the environment answer a reply.

        Returns:
            The turn, to be judged.
        """
        before = tuple(self.transcript)
        answer = env.respond(self.task, self.state, reply)
        self.turns += 1
        self.transcript.append({"role": "assistant", "content": reply})
        if answer is None:
            self.terminated = True
            self.observation = ""
        else:
            self.transcript.append(dict_copy(answer))
            self.observation = answer["content"]
            self.truncated = self.turns >= env.max_turns
        return Turn(reply, self.turns - 1, self.over, self.state, before)


def dict_copy(message: Message) -> Message:
    """A message that nobody else holds."""
    return {"role": message["role"], "content": message["content"]}


class EpisodeBatch:
    """N episodes, played in step."""

    def __init__(
        self, env: TextEnv[Any], name: str, tasks: Sequence[Task], functions: Sequence[RewardFunction] = ()
    ) -> None:
        """Begin an episode for each task.

        Args:
            env: The environment.
            name: Its id, for messages.
            tasks: One task an episode.
            functions: The environment's K rewards, where they have been looked up.
        """
        self._env = env
        self._name = name
        self._functions = functions or reward_functions_of(env)
        self._specs = [function.spec for function in self._functions]
        self.episodes = [Episode(env, task) for task in tasks]
        self._sums: NDArray[np.float64] = np.zeros((len(tasks), len(self._functions)))

    def play(self, replies: Sequence[str]) -> Scores:
        """One turn of every episode that is not over; the others' rows are zero.

        Args:
            replies: N replies; those of finished episodes are ignored.

        Returns:
            The rewards of this turn (N, K).

        Raises:
            RewardError: A reward is not what its declaration allows.
        """
        live = [i for i, episode in enumerate(self.episodes) if not episode.over]
        turns: dict[int, Turn[Any]] = {}
        broken: dict[int, Exception] = {}
        for i in live:
            try:
                turns[i] = self.episodes[i].advance(self._env, replies[i])
            except Exception as error:  # the author's code failed on this rollout, not on the others
                broken[i] = error
                self.episodes[i].terminated = True
        rows = list(turns)
        part = score(
            self._env,
            self._name,
            [self.episodes[i].task for i in rows],
            [self._env.judged(turn) for turn in turns.values()],
            self._functions,
        )
        scores = Scores.empty(*self._sums.shape)
        for name in ("values", "raw", "applicable", "failed"):
            getattr(scores, name)[rows] = getattr(part, name)
        scores.failures.extend(part.failures)
        for i, cause in broken.items():
            scores.applicable[i] = scores.failed[i] = True
            text = f"respond raised {type(cause).__name__}: {cause}"
            scores.failures.extend(
                ScoringFailure(self._name, spec.name, self.episodes[i].task.id, text) for spec in self._specs
            )
        if self._env.max_turns > 1:
            self._sums += scores.raw
            self._check_sums()
        return scores

    def _check_sums(self) -> None:
        for k, spec in enumerate(self._specs):
            outside = (self._sums[:, k] < spec.low - 1e-9) | (self._sums[:, k] > spec.high + 1e-9)
            if outside.any():
                i = int(outside.argmax())
                raise RewardError(
                    f"{self._name}: reward {spec.name!r} on task {self.episodes[i].task.id} adds up to "
                    f"{self._sums[i, k]} over the episode, outside [{spec.low}, {spec.high}]; "
                    "declare the range of the whole episode."
                )

    @property
    def terminated(self) -> NDArray[np.bool_]:
        """(N,), True where the environment ended the episode."""
        return np.array([episode.terminated for episode in self.episodes])

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """(N,), True where the limit on turns cut the episode off."""
        return np.array([episode.truncated for episode in self.episodes])

    @property
    def observations(self) -> tuple[str, ...]:
        """What each rollout is shown: the prompt at first, then the answer to its last reply."""
        return tuple(episode.observation for episode in self.episodes)

    def messages(self) -> list[list[Message]]:
        """Fresh copies of the whole transcripts."""
        return [[dict_copy(message) for message in episode.transcript] for episode in self.episodes]
