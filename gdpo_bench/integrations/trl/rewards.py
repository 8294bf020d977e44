"""An environment's rewards as TRL's reward functions: one callable a reward, a batch scored once for all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core import RewardSpec
from gdpo_bench.core.scoring import Scores
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import Scorer

TASK_COLUMN = "task_id"
"""The column by which a reward function finds its tasks."""
_SHOWN_CHARACTERS = 500
"""Of a failure; the author's exception may quote the whole reply."""

_log = logging.getLogger(__name__)

Completion = str | Sequence[dict[str, Any]]
"""What TRL hands to reward functions: a text, or messages where prompts are messages."""


class BatchScorer:
    """Scores a batch with all K rewards, and remembers the last one for the next reward function."""

    def __init__(self, scorer: Scorer) -> None:
        """Nothing is scored yet.

        Args:
            scorer: Of an environment.
        """
        self._scorer = scorer
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
            self._scores = self._scorer(task_ids, replies)
            self._last = batch
            self._announce(self._scores)
        return self._scores

    def _announce(self, scores: Scores) -> None:
        if scores.failures:
            _log.warning(
                "%s: %d of %d replies lack a reward because its scorer failed. The first: %s",
                self._scorer.env_id,
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

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """Rewards (N,) with gates applied; None where not applicable or where the scorer failed.

        Args:
            prompts: N prompts; a task is found by its id instead.
            completions: N replies.
            **columns: The other columns of the dataset, among them `task_id`; and what else TRL passes. With
                `log_metric` among it the share of failed scorers is logged as `rewards/<name>/failed`.

        Raises:
            IntegrationError: No column `task_id`, or replies that are not single texts.
        """
        if TASK_COLUMN not in columns:
            raise IntegrationError(
                f"Reward function {self.__name__!r} finds its tasks by the column {TASK_COLUMN!r}, which is missing. "
                "Take the data from TRLEnvironment.dataset(split) and keep remove_unused_columns=False."
            )
        scores = self._scorer(columns[TASK_COLUMN], [reply_text(completion) for completion in completions])
        self._failed = scores.failed[:, self._index]
        if "log_metric" in columns:
            columns["log_metric"](f"rewards/{self.__name__}/failed", float(self._failed.mean()))
        there = scores.applicable[:, self._index] & ~self._failed
        values = scores.values[:, self._index].tolist()
        return [value if known else None for value, known in zip(values, there.tolist(), strict=True)]

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
