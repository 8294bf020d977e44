"""An environment's rewards as TRL's reward functions: one callable a reward, a batch scored once for all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core import RewardSpec
from gdpo_bench.core.scoring import Scores
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import Scorer

TASK_COLUMN = "task_id"
"""The column by which a reward function finds its tasks."""
ENV_COLUMN = "env"
"""Whose task it is; rewards of other environments are None there."""
PLAYED_COLUMN = "gdpo_bench_played"
"""Of a rollout that was played turn by turn: a `Played`."""
_SHOWN_CHARACTERS = 500
"""Of a failure; the author's exception may quote the whole reply."""

_log = logging.getLogger(__name__)

Completion = str | Sequence[dict[str, Any]]
"""What TRL hands to reward functions: a text, or messages where prompts are messages."""


@dataclass(frozen=True)
class Played:
    """A rollout of several turns, which were scored as they went on."""

    scores: Scores
    """Of all rollouts of its batch and environment."""
    row: int
    """Which of them it is."""
    drawn: int
    """Tokens that the policy drew."""


class BatchScorer:
    """Scores a batch with all K rewards, and remembers the last one for the next reward function."""

    def __init__(self, scorer: Scorer, source: str) -> None:
        """Nothing is scored yet.

        Args:
            scorer: Of an environment.
            source: What the data set calls it.
        """
        self.scorer, self.source = scorer, source
        self._last: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._scores = Scores.empty(0, len(scorer.reward_specs))

    def __call__(self, task_ids: Sequence[str], replies: Sequence[str]) -> Scores:
        """The rewards (N, K) of N replies; rewards are pure, so a batch that comes again has those that it had.

        Raises:
            UnknownNameError: A task that no split holds.
            RewardError: A reward is not what its declaration allows.
        """
        batch = (tuple(task_ids), tuple(replies))
        if batch != self._last:
            self._scores = self.scorer(task_ids, replies)
            self._last = batch
            self._announce(self._scores)
        return self._scores

    def of_played(self, rollouts: Sequence[Played]) -> Scores:
        """The rewards (N, K) of rollouts of one batch, which have been scored."""
        scores = rollouts[0].scores
        if scores is not self._scores:
            self._scores, self._last = scores, None
            self._announce(scores)
        return scores.select(np.array([rollout.row for rollout in rollouts]))

    def own_rows(self, columns: Mapping[str, Any], count: int) -> list[int]:
        """The rows of a batch that are about tasks of this environment.

        Args:
            columns: The data set's, each of `count` values.
            count: N.
        """
        sources = columns.get(ENV_COLUMN, [self.source] * count)
        return [i for i, task in enumerate(columns[TASK_COLUMN]) if task is not None and sources[i] == self.source]

    def _announce(self, scores: Scores) -> None:
        if scores.failures:
            _log.warning(
                "%s: %d of %d replies lack a reward because its scorer failed. The first: %s",
                self.scorer.env_id,
                int(scores.failed.any(1).sum()),
                len(scores.failed),
                str(scores.failures[0])[:_SHOWN_CHARACTERS],
            )


class RewardComponent:
    """One reward of an environment, as a reward function of TRL.

    Attributes:
        __name__: The reward's name, under which TRL logs it.
        spec: Its declaration.
    """

    def __init__(self, scorer: BatchScorer, index: int, spec: RewardSpec) -> None:
        """Made by `TRLEnvironment`.

        Args:
            scorer: Shared by the environment's rewards.
            index: The reward's place in the reward vector.
            spec: Its declaration.
        """
        self.__name__ = spec.name
        self.spec = spec
        self._scorer, self._index = scorer, index
        self._failed: NDArray[np.bool_] = np.zeros(0, bool)

    def renamed(self, spec: RewardSpec) -> RewardComponent:
        """The same reward under another name.

        Args:
            spec: The declaration with that name.
        """
        return RewardComponent(self._scorer, self._index, spec)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """Rewards (N,) with gates applied; None where not applicable, of another data set, or where the scorer failed.

        Args:
            prompts: N prompts; a task is found by its id instead.
            completions: N replies.
            **columns: The other columns of the dataset, among them `task_id`; and what else TRL passes. With
                `log_metric` among it the share of failed scorers is logged as `rewards/<name>/failed`.

        Raises:
            IntegrationError: No column `task_id`, replies that are not single texts, or a dialogue that was not played.
        """
        if TASK_COLUMN not in columns:
            raise IntegrationError(
                f"Reward function {self.__name__!r} finds its tasks by the column {TASK_COLUMN!r}, which is missing. "
                "Take the data from TRLEnvironment.dataset(split) and keep remove_unused_columns=False."
            )
        own = self._scorer.own_rows(columns, len(completions))
        self._failed = np.zeros(len(completions), bool)
        found: list[float | None] = [None] * len(completions)
        if own:
            scores = self._scores(completions, columns, own)
            self._failed[own] = scores.failed[:, self._index]
            there = scores.applicable[:, self._index] & ~scores.failed[:, self._index]
            for i, value, known in zip(own, scores.values[:, self._index].tolist(), there.tolist(), strict=True):
                found[i] = value if known else None
        if "log_metric" in columns:
            columns["log_metric"](f"rewards/{self.__name__}/failed", float(self._failed.mean()))
        return found

    def _scores(self, completions: Sequence[Completion], columns: Mapping[str, Any], own: Sequence[int]) -> Scores:
        env, env_id = self._scorer.scorer.env, self._scorer.scorer.env_id
        if PLAYED_COLUMN in columns:
            return self._scorer.of_played([columns[PLAYED_COLUMN][i] for i in own])
        if env.max_turns > 1:
            raise IntegrationError(
                f"{env_id} is a dialogue of up to {env.max_turns} turns, and TRL drew single replies. Give the trainer "
                "what plays it: rollout_func=env.rollout_func."
            )
        return self._scorer([columns[TASK_COLUMN][i] for i in own], [reply_text(completions[i]) for i in own])

    @property
    def last_failed(self) -> NDArray[np.bool_]:
        """(N,) of the last call: where None means that the scorer failed."""
        return self._failed

    def __repr__(self) -> str:
        return f"RewardComponent({self.__name__})"


def reply_text(completion: Completion) -> str:
    """The text of a completion.

    Raises:
        IntegrationError: Several messages, or one from which TRL took parts out.
    """
    if isinstance(completion, str):
        return completion
    if len(completion) == 1 and isinstance(completion[0].get("content"), str):
        extra = sorted(key for key, value in completion[0].items() if key not in ("role", "content") and value)
        if not extra:
            return str(completion[0]["content"])
        raise IntegrationError(
            f"TRL split a reply into content and {_listed(extra)}, but rewards judge the whole text. Set the "
            "tokenizer's response_template and response_schema to None."
        )
    kinds = [f"{message.get('role')}: {type(message.get('content')).__name__}" for message in completion]
    raise IntegrationError(
        f"Expected a completion of one message with a text; got {_listed(kinds) or 'none'}. Environments of one turn "
        "take neither tools nor images."
    )


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
