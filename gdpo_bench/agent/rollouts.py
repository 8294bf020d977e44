"""Rollouts: what the policy said, and with its rewards when they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gdpo_bench.core.scoring import Scores


@dataclass(frozen=True)
class Replies:
    """What the policy said in N rollouts of one batch of prompts."""

    token_ids: torch.Tensor
    """(N, L) prompt, replies and answers, padded on the right."""
    drawn: torch.Tensor
    """(N, L) bool, True where the policy drew the token; only these carry loss."""
    log_probs: torch.Tensor
    """(N, L) log-probability of each drawn token when it was drawn, 0 elsewhere."""
    cut_off: torch.Tensor
    """(N,) bool, True where the last reply reached the limit on tokens."""
    groups: NDArray[np.int64]
    """(N,) number of the prompt."""
    task_ids: NDArray[np.str_] | None = field(default=None, kw_only=True)
    """(N,) where known."""

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def lengths(self) -> torch.Tensor:
        """(N,) tokens that the policy drew."""
        return self.drawn.sum(1)

    def judged(self, scores: Scores, scoring_s: float = 0.0) -> Rollouts:
        """These replies with their rewards."""
        return Rollouts(
            self.token_ids,
            self.drawn,
            self.log_probs,
            self.cut_off,
            self.groups,
            scores,
            task_ids=self.task_ids,
            scoring_s=scoring_s,
        )


@dataclass(frozen=True)
class Rollouts(Replies):
    """N finished rollouts: tokens beside reward vectors."""

    scores: Scores
    """Rewards (N, K), summed over turns."""
    scoring_s: float = field(default=0.0, kw_only=True)
    """Seconds that the environment took to answer and to judge."""

    def select(self, rows: torch.Tensor) -> Rollouts:
        """Some of the rollouts.

        Args:
            rows: Their indices, or a mask (N,).
        """
        index = rows.numpy()
        replies = Replies(
            self.token_ids[rows],
            self.drawn[rows],
            self.log_probs[rows],
            self.cut_off[rows],
            self.groups[index],
            task_ids=None if self.task_ids is None else self.task_ids[index],
        )
        return replies.judged(self.scores.select(index), self.scoring_s)


def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
    """Rollouts one after the other, their groups numbered on.

    Args:
        parts: At least one batch.
    """
    return concatenate_replies(parts).judged(
        reduce(Scores.stack, (part.scores for part in parts)), sum(part.scoring_s for part in parts)
    )


def concatenate_replies(parts: Sequence[Replies]) -> Replies:
    """Replies one after the other, their groups numbered on.

    Args:
        parts: At least one batch.
    """
    if len(parts) == 1:
        return parts[0]
    width = max(part.token_ids.shape[1] for part in parts)

    def padded(name: str) -> torch.Tensor:
        tensors = [getattr(part, name) for part in parts]
        return torch.cat([F.pad(tensor, (0, width - tensor.shape[1])) for tensor in tensors])

    ids = [part.task_ids for part in parts if part.task_ids is not None]
    offsets = np.cumsum([0, *(int(part.groups.max(initial=-1)) + 1 for part in parts)])
    return Replies(
        padded("token_ids"),
        padded("drawn"),
        padded("log_probs"),
        torch.cat([part.cut_off for part in parts]),
        np.concatenate([part.groups + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        task_ids=np.concatenate(ids) if len(ids) == len(parts) else None,
    )
