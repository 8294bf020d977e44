"""OPO: subtract the length-weighted mean, the baseline of least variance.

Source: On-Policy RL with Optimal Reward Baseline, arXiv 2505.23585. With s = Σ_k w_k r_k and
token counts l,

    A = s − Σ_group(l s) / Σ_group(l)

Domain: token counts. Departs in one point: sums that are equal throughout a group up to rounding
give exactly 0. A group whose lengths are all 0 is weighted evenly.

    python -m gdpo_bench.run --normalizers opo
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.group_norm import GroupNorm
from gdpo_bench.advantages.registry import register_normalizer


@register_normalizer("opo")
@dataclass(frozen=True)
class OPO(GroupNorm):
    """Centres on the length-weighted mean. Weights act on rewards."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), lengths (N,), group ids (N,) and weights (K,)."""
        if batch.lengths is None:
            raise DomainError("opo needs `lengths`, the token counts of the rollouts; pass lengths.")
        total, size, rows = self.total(batch, self.rewards(batch))
        # Centred first: what is equal is then exactly 0, and the baseline below is relative to the mean.
        centred = self.standardize(total, batch.grouping, batch.dtype, present=rows, size=size, scale=False)
        lengths = batch.lengths.to(total.dtype)
        counts = torch.ones_like(lengths) if rows is None else rows.to(lengths.dtype)
        tokens = batch.grouping.sum(lengths * counts)
        weights = torch.where(batch.grouping.spread(tokens) > 0, lengths, 1.0) * counts
        baselines = batch.grouping.sum(weights * centred) / batch.grouping.sum(weights).clamp(min=1e-30)
        advantages = batch.grouping.combine(torch.sub, centred, baselines)
        return advantages if rows is None else torch.where(rows, advantages, 0.0)
