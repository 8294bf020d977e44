"""From replies to reward vectors: play the turn, call the reward functions, check them, apply the gates."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.calls import RewardCalls
from gdpo_bench.core.env import TextEnv, Turn, copied_message, messages_of, reward_functions_of
from gdpo_bench.core.errors import RewardError, UnavailableError
from gdpo_bench.core.foreign import defined_at, raised_at, summary
from gdpo_bench.core.rewards import RewardFunction, RewardSpec
from gdpo_bench.core.task import Message, Task

_TOLERANCE = 1e-9
"""Slack on a declared range, for values that were computed by division."""
SHOWN_CHARACTERS = 1000
"""Longest text of a failure that is shown; the author's exception may quote the whole reply."""


@dataclass(frozen=True)
class ScoringFailure:
    """A reward function that raised, for one rollout."""

    environment: str
    reward: str
    task_id: str
    error: str
    place: str = ""
    """File and line, where the exception tells."""

    def __str__(self) -> str:
        return f"{self.environment}: reward {self.reward!r} failed on task {self.task_id}: {self.error}" + (
            f" ({self.place})" if self.place else ""
        )


@dataclass(frozen=True)
class Scores:
    """The rewards of N rollouts, K each; always finite."""

    values: NDArray[np.float64]
    """Rewards (N, K) with gates applied; 0 where not applicable or failed."""
    raw: NDArray[np.float64]
    """Rewards (N, K) before gates; 0 where not applicable or failed."""
    applicable: NDArray[np.bool_]
    """(N, K), False where the reward does not apply to the task."""
    failed: NDArray[np.bool_]
    """(N, K), True where the reward function raised."""
    failures: list[ScoringFailure] = field(default_factory=list)

    @classmethod
    def empty(cls, rollouts: int, rewards: int) -> Scores:
        """Scores in which nothing is applicable and nothing failed."""
        shape = (rollouts, rewards)
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool))

    def select(self, rows: NDArray[Any]) -> Scores:
        """The scores of some rollouts, by index or mask; what failed is still told of all."""
        return Scores(self.values[rows], self.raw[rows], self.applicable[rows], self.failed[rows], self.failures)

    def beside(self, values: NDArray[np.float64]) -> Scores:
        """These scores with one more reward (N,), which applies to every rollout."""
        column, always = values[:, None], np.ones((len(values), 1), bool)
        return Scores(
            np.hstack([self.values, column]),
            np.hstack([self.raw, column]),
            np.hstack([self.applicable, always]),
            np.hstack([self.failed, ~always]),
            self.failures,
        )

    def stack(self, others: Scores) -> Scores:
        """These rollouts' scores followed by the others'."""
        return Scores(
            np.concatenate([self.values, others.values]),
            np.concatenate([self.raw, others.raw]),
            np.concatenate([self.applicable, others.applicable]),
            np.concatenate([self.failed, others.failed]),
            self.failures + others.failures,
        )

    def __add__(self, later: Scores) -> Scores:
        """Scores of an episode from those of its turns: values add up, masks hold if they once did."""
        return Scores(
            self.values + later.values,
            self.raw + later.raw,
            self.applicable | later.applicable,
            self.failed | later.failed,
            self.failures + later.failures,
        )


class Episode:
    """One rollout: its task, its transcript, and how far it is."""

    def __init__(self, env: TextEnv[Any], task: Task) -> None:
        self.task = task
        self.state = env.begin(task)
        self.transcript: list[Message] = messages_of(env, task)
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
            The turn, to be scored.
        """
        before = tuple(self.transcript)
        answer = env.respond(self.task, self.state, reply)
        self.turns += 1
        self.transcript.append({"role": "assistant", "content": reply})
        if answer is None:
            self.terminated = True
            self.observation = ""
        else:
            self.transcript.append(copied_message(env, "respond", answer, self.task))
            self.observation = self.transcript[-1]["content"]
            self.truncated = self.turns >= env.max_turns
        return Turn(reply, self.turns - 1, self.over, self.state, before)


class EpisodeBatch:
    """N episodes, played in step."""

    def __init__(
        self,
        env: TextEnv[Any],
        name: str,
        tasks: Sequence[Task],
        functions: Sequence[RewardFunction] = (),
        *,
        calls: RewardCalls | None = None,
    ) -> None:
        """Begin an episode for each task.

        Args:
            env: The environment.
            name: Its id, for messages.
            tasks: One task an episode.
            functions: The environment's K rewards, where they have been looked up.
            calls: What calls them, where several batches share it.
        """
        self._calls = calls
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
            [self._env.scored(turn) for turn in turns.values()],
            self._functions,
            calls=self._calls,
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
        return [[_copied(message) for message in episode.transcript] for episode in self.episodes]


def score(
    env: TextEnv[Any],
    name: str,
    tasks: Sequence[Task],
    replies: Sequence[Any],
    functions: Sequence[RewardFunction] = (),
    *,
    calls: RewardCalls | None = None,
) -> Scores:
    """Score N replies with all K rewards of an environment, one reward after the other.

    Args:
        env: The environment.
        name: Its id, for messages.
        tasks: The N tasks.
        replies: The N replies; in a dialogue, turns.
        functions: Its K rewards, where they have been looked up.
        calls: What calls them, where several batches share it.

    Returns:
        The checked rewards.

    Raises:
        RewardError: A reward function returned NaN, a value outside its range, or a wrong shape.
        UnavailableError: What a reward function needs is not there on this machine.
    """
    functions = functions or reward_functions_of(env)
    scores = Scores.empty(len(tasks), len(functions))
    if not tasks:
        return scores
    for k, function in enumerate(functions):
        method = getattr(env, function.method)
        if function.batched or _may_wait(env, method):
            calls = calls or RewardCalls(env, name)
            outcomes = calls(function, tasks, replies)
        else:  # as most are: called here, for whoever reads from a training step down to them
            outcomes = []
            for task, reply in zip(tasks, replies, strict=True):
                try:
                    outcomes.append(method(task, reply))
                except UnavailableError:
                    raise
                except Exception as error:  # whatever it is, it is the scorer's failure, not a reward
                    outcomes.append(error)
        for i, outcome in enumerate(outcomes):
            if isinstance(outcome, Exception):
                scores.applicable[i, k] = scores.failed[i, k] = True
                scores.failures.append(
                    ScoringFailure(name, function.spec.name, tasks[i].id, summary(outcome), raised_at(outcome))
                )
            elif outcome is not None:
                scores.applicable[i, k] = True
                try:
                    scores.raw[i, k] = _checked(outcome, function.spec, name, tasks[i])
                except RewardError as error:
                    raise error.at(defined_at(method, "def")) from None
    apply_gates(scores, [function.spec for function in functions])
    return scores


def _may_wait(env: TextEnv[Any], method: Callable[..., Any]) -> bool:
    """Whether calls of a method go side by side, are awaited, or have a time limit."""
    return env.scored_elsewhere or env.reward_timeout is not None or inspect.iscoroutinefunction(method)


def _checked(value: Any, spec: RewardSpec, name: str, task: Task) -> float:
    """The value as a number that the declaration allows."""
    number = float(value) if type(value) is bool or type(value) is float else _number(value, spec, name, task)
    # Nearly all values pass here, before any message is put together; NaN does not.
    if spec.low <= number <= spec.high and (spec.kind != "binary" or number in (spec.low, spec.high)):
        return number
    where = _place(spec, name, task)
    if not math.isfinite(number):
        raise RewardError(f"{where} must be finite; got {number}. Return None where it does not apply.")
    if not spec.low - _TOLERANCE <= number <= spec.high + _TOLERANCE:
        raise RewardError(f"{where} must lie in [{spec.low}, {spec.high}] as declared; got {number}.")
    number = min(max(number, spec.low), spec.high)
    if spec.kind == "binary" and number not in (spec.low, spec.high):
        raise RewardError(f"{where} is declared binary, {spec.low} or {spec.high}; got {number}. Declare it graded?")
    return number


def _number(value: Any, spec: RewardSpec, name: str, task: Task) -> float:
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # of numpy, torch or jax
    if not isinstance(value, Real):
        shape = f" of shape {value.shape}" if hasattr(value, "shape") else f" {value!r:.80}"
        raise RewardError(
            f"{_place(spec, name, task)} must be one number (or None for not applicable); "
            f"got {type(value).__name__}{shape}."
        )
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf


def _place(spec: RewardSpec, name: str, task: Task) -> str:
    return f"{name}: reward {spec.name!r} on task {task.id}"


def apply_gates(scores: Scores, specs: Sequence[RewardSpec]) -> None:
    """Fill `values` from `raw`. Where the condition does not apply or failed, so does the reward."""
    index = {spec.name: k for k, spec in enumerate(specs)}
    scores.values[:] = scores.raw
    applicable, failed = scores.applicable.copy(), scores.failed.copy()
    for k, spec in enumerate(specs):
        if spec.gate is None:
            continue
        on = index[spec.gate.on]
        scores.values[scores.raw[:, on] < spec.gate.at_least, k] = 0.0
        scores.failed[:, k] |= failed[:, on] & applicable[:, k]
        scores.applicable[:, k] &= applicable[:, on]
        scores.values[~scores.applicable[:, k] | scores.failed[:, k], k] = 0.0


def _copied(message: Message) -> Message:
    """A message that nobody else holds."""
    return {"role": message["role"], "content": message["content"]}
