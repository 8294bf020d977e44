"""MaxRL: divide the centred sum by the group's mean, so that rare success counts more.

Source: Maximum Likelihood Reinforcement Learning, arXiv 2602.02710. With s = Σ_k w_k r_k ≥ 0,

    A = (s − mean_group(s)) / (mean_group(s) + ε)

For a binary s the sum over a group is the gradient of the likelihood of success, truncated at
the group's size. Domain: no negative sum. Departs in one point: sums that are equal throughout a
group up to rounding give exactly 0.

    python -m gdpo_bench.run --normalizers maxrl
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.group_norm import GroupNorm
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("maxrl")
@dataclass(frozen=True)
class MaxRL(GroupNorm):
    """Divides by the mean in place of the standard deviation. Weights act on rewards."""

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse rewards whose sum may be negative.

        Raises:
            DomainError: The declared ranges allow a negative sum.
        """
        lowest = sum(min(weights[spec.name] * spec.low, weights[spec.name] * spec.high) for spec in specs)
        if lowest < 0:
            raise DomainError(f"maxrl needs sums of rewards that are not negative; these go down to {lowest:g}.")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K) ≥ 0, group ids (N,) and weights (K,)."""
        total, size, rows = self.total(batch, self.rewards(batch))
        if bool((total < 0).any()):
            row = int(total.argmin())
            raise DomainError(
                f"maxrl needs sums of rewards that are not negative; rollout {row} has {total[row].item():.6g}. "
                "Shift the reward, or give it another weight."
            )
        centred = self.standardize(total, batch.grouping, batch.dtype, present=rows, size=size, scale=False)
        counted = total if rows is None else torch.where(rows, total, 0.0)
        counts = batch.grouping.sizes if rows is None else batch.grouping.sum(rows.to(total.dtype)).clamp(min=1)
        means = batch.grouping.sum(counted) / counts
        # Where the mean is 0 so is every reward, and 0 / 1 stays 0 also with ε = 0.
        return batch.grouping.combine(torch.div, centred, torch.where(means > 0, means + self.eps, 1.0))
