"""GRPO: add the rewards up, then normalize the sum within its group.

Source: arXiv 2402.03300 (GRPO), arXiv 2503.20783 (Dr.GRPO: no division). With s = Σ_k w_k r_k,

    A = (s − mean_group(s)) / (std_group(s) + ε)

Departs in one point: sums that are equal throughout a group up to rounding give exactly 0.
`grpo_scaled` first divides each reward by its declared range: the honest baseline when one
reward is {0, 1} and another [−3, 3].

    python -m gdpo_bench.run --normalizers grpo grpo_no_std grpo_scaled
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.group_norm import GroupNorm
from gdpo_bench.advantages.registry import register_normalizer


@register_normalizer("grpo")
@register_normalizer("grpo_no_std", divide_by_std=False)
@register_normalizer("grpo_scaled", divide_by_range=True)
@dataclass(frozen=True)
class GRPO(GroupNorm):
    """Normalizes the weighted sum of the rewards. Weights act on rewards."""

    divide_by_std: bool = True
    """Divide by the group's standard deviation. Without it this is Dr.GRPO."""
    divide_by_range: bool = False
    """Divide each reward by its declared high − low before adding; needs specs."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        total, size, rows = self.total(batch, _by_range(batch) if self.divide_by_range else batch.rewards)
        return self.standardize(total, batch.groups, batch.dtype, present=rows, size=size, scale=self.divide_by_std)


def _by_range(batch: RewardBatch) -> Tensor:
    if batch.specs is None:
        raise DomainError("Dividing rewards by their range needs `specs`, which declare the ranges; pass specs.")
    return batch.rewards / torch.tensor(
        [spec.high - spec.low for spec in batch.specs], dtype=torch.float64, device=batch.rewards.device
    )
