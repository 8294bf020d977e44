"""Whitening of finished advantages: zero mean and unit spread over a batch.

Frameworks disagree over what a batch is made of. Counting each rollout once (`sequence`) keeps
rollouts without signal at 0. Counting each token once (`token`: verl, the GDPO authors' verl)
shifts them away from 0 and makes advantages depend on lengths. Whitening each group by itself
(`group`: axolotl's streaming trainer) takes back what GDPO has gained over GRPO.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.group_norm import EPS64, GroupNorm, rounding


@dataclass(frozen=True)
class Whitening(GroupNorm):
    """Options of estimators that whiten what they have computed."""

    scope: Literal["sequence", "token", "group"] = "sequence"
    """What is counted once: a rollout, a token, or a rollout within its own group."""
    whitening_eps: float | None = None
    """In place of `eps`."""
    eps_in_root: bool = False
    """Whether ε is added to the variance (verl) and not to the standard deviation."""
    whiten_absent: bool = False
    """Whether a rollout without any reward enters the batch's statistics, as 0."""

    def whiten(
        self, values: Tensor, batch: RewardBatch, *, rows: Tensor | None = None, size: Tensor | None = None
    ) -> Tensor:
        """(x − mean) / (std + ε) over the scope.

        Args:
            values: (N,).
            batch: The batch.
            rows: Mask (N,): which rollouts enter the statistics; the others become 0.
            size: (N,), the size of the terms that each value is a sum of.

        Returns:
            (N,); with exact zeros on, a zero stays one wherever the mean is 0 up to rounding.

        Raises:
            DomainError: Counting tokens needs token counts.
        """
        eps = self.eps if self.whitening_eps is None else self.whitening_eps
        rows = None if self.whiten_absent else rows
        if self.scope == "group":
            return self.standardize(values, batch.grouping, batch.dtype, present=rows, size=size, eps=eps)
        counts = self._counts(batch, values.dtype)
        if rows is not None:
            counts = counts * rows
        n = counts.sum()
        if float(n) <= 1:
            return torch.zeros_like(values)
        mean = (counts @ values) / n
        spread = (counts @ (values - mean).square_()) / (n - self.ddof)
        divisor = (spread + eps).sqrt() if self.eps_in_root else spread.sqrt() + eps
        if self.exact_zeros:
            magnitude = counts @ values.abs()
            sizes = (magnitude if size is None else counts @ size) / n
            mean = torch.where(mean.abs() <= 2 * len(values) * EPS64 * magnitude / n, 0.0, mean)
            divisor = torch.where(spread.sqrt() <= rounding(batch.dtype, len(values)) * sizes, math.inf, divisor)
        elif self.zero_variance == "undivided":
            divisor = torch.where(spread > 0, divisor, 1.0)
        whitened = (values - mean).div_(divisor)
        return whitened if rows is None else torch.where(rows, whitened, 0.0)

    def _counts(self, batch: RewardBatch, dtype: torch.dtype) -> Tensor:
        if self.scope == "sequence":
            return torch.ones(len(batch), dtype=dtype, device=batch.given.device)
        if batch.lengths is None:
            raise DomainError("Whitening over tokens (scope='token') needs `lengths`, the token counts; pass lengths.")
        return batch.lengths.to(dtype)
