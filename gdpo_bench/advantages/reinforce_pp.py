"""REINFORCE++: whiten the summed rewards over the whole batch.

Source: arXiv 2501.03262. With s = Σ_k w_k r_k,

    reinforce_pp:           A = (s − mean_batch(s)) / (std_batch(s) + ε)
    reinforce_pp_baseline:  the same of s − mean_group(s)

Departs in two points: statistics count each rollout once (`scope="token"` counts tokens, as the
paper's code does), and a batch of equal sums gives exactly 0. Without the group baseline a group
of equal rewards does get an advantage: that is the estimator, not a rounding error.

    python -m gdpo_bench.run --normalizers reinforce_pp reinforce_pp_baseline
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.whitening import Whitening


@register_normalizer("reinforce_pp")
@register_normalizer("reinforce_pp_baseline", group_baseline=True)
@dataclass(frozen=True)
class ReinforcePlusPlus(Whitening):
    """Whitens the weighted sum of the rewards over the batch. Weights act on rewards."""

    group_baseline: bool = False
    """Subtract the group's mean first."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        total, size, rows = self.total(batch, self.rewards(batch))
        if self.group_baseline:
            total = self.standardize(total, batch.grouping, batch.dtype, present=rows, size=size, scale=False)
        return self.whiten(total, batch, rows=rows, size=size)
