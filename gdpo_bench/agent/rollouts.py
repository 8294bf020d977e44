"""Finished rollouts: tokens beside reward vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gdpo_bench.core.scoring import Scores


@dataclass(frozen=True)
class Rollouts:
    """N finished rollouts of one batch of prompts."""

    token_ids: torch.Tensor
    """(N, L) prompt, replies and answers, padded on the right."""
    drawn: torch.Tensor
    """(N, L) bool, True where the policy drew the token; only these carry loss."""
    log_probs: torch.Tensor
    """(N, L) log-probability of each drawn token when it was drawn, 0 elsewhere."""
    cut_off: torch.Tensor
    """(N,) bool, True where the last reply reached the limit on tokens."""
    scores: Scores
    """Rewards (N, K), summed over turns."""
    groups: NDArray[np.int64]
    """(N,) number of the prompt."""
    scoring_s: float = 0.0
    """Seconds that the environment took to answer and to judge."""
    task_ids: NDArray[np.str_] | None = None
    """(N,) where known."""

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def lengths(self) -> torch.Tensor:
        """(N,) tokens that the policy drew."""
        return self.drawn.sum(1)

    def select(self, rows: torch.Tensor) -> Rollouts:
        """Some of the rollouts.

        Args:
            rows: Their indices, or a mask (N,).
        """
        index = rows.numpy()
        scores = Scores(
            self.scores.values[index],
            self.scores.raw[index],
            self.scores.applicable[index],
            self.scores.failed[index],
            self.scores.failures,
        )
        return Rollouts(
            self.token_ids[rows],
            self.drawn[rows],
            self.log_probs[rows],
            self.cut_off[rows],
            scores,
            self.groups[index],
            self.scoring_s,
            None if self.task_ids is None else self.task_ids[index],
        )


def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
    """Rollouts one after the other, their groups numbered on.

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
    return Rollouts(
        padded("token_ids"),
        padded("drawn"),
        padded("log_probs"),
        torch.cat([part.cut_off for part in parts]),
        reduce(Scores.stack, (part.scores for part in parts)),
        np.concatenate([part.groups + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        sum(part.scoring_s for part in parts),
        np.concatenate(ids) if len(ids) == len(parts) else None,
    )
