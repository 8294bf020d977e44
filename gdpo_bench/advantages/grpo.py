"""GRPO and its relatives: add the rewards up, then compare the sum within its group.

With s = Σ_k w_k r_k,

    A = (s − mean_group(s)) / (std_group(s) + ε)

Sources and variants:
- `grpo`: arXiv 2402.03300.
- `grpo_no_std`: Dr.GRPO, arXiv 2503.20783; no division.
- `grpo_batch_std`: Lite PPO, arXiv 2508.08221; the standard deviation of s over the whole batch.
- `rloo`: arXiv 2402.14740; subtracts the mean of the group's other rollouts, no division. It is
  `grpo_no_std` times G/(G − 1).
- `grpo_scaled`: each reward is first divided by its declared range: the honest baseline when one
  reward is {0, 1} and another [−3, 3].

Departs in one point: sums that are equal throughout a group up to rounding give exactly 0.

    python -m gdpo_bench.run --normalizers grpo grpo_no_std grpo_batch_std rloo grpo_scaled
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.group_norm import GroupNorm, rounding
from gdpo_bench.advantages.registry import register_normalizer


@register_normalizer("grpo")
@register_normalizer("grpo_no_std", scale="none")
@register_normalizer("grpo_batch_std", scale="batch")
@register_normalizer("grpo_scaled", divide_by_range=True)
@register_normalizer("rloo", scale="none", baseline="leave_one_out")
@dataclass(frozen=True)
class GRPO(GroupNorm):
    """Normalizes the weighted sum of the rewards. Weights act on rewards."""

    scale: Literal["group", "batch", "none"] = "group"
    """Whose standard deviation to divide by."""
    divide_by_range: bool = False
    """Divide each reward by its declared high − low before adding; needs specs."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        rewards = self.rewards(batch)
        if self.divide_by_range:
            rewards = rewards / reward_ranges(batch).to(rewards.dtype)
        total, size, rows = self.total(batch, rewards)
        advantages = self.standardize(
            total, batch.grouping, batch.dtype, present=rows, size=size, scale=self.scale == "group"
        )
        return advantages / self._batch_divisor(total, size, rows, batch) if self.scale == "batch" else advantages

    def _batch_divisor(self, total: Tensor, size: Tensor, rows: Tensor | None, batch: RewardBatch) -> Tensor:
        if rows is not None:
            total, size = total[rows], size[rows]
        if len(total) <= 1:
            return torch.full((), math.inf, dtype=total.dtype, device=total.device)
        std = total.std(correction=self.ddof)
        equal = (std <= rounding(batch.dtype, len(total)) * size.mean()) & self.exact_zeros
        return torch.where(equal, math.inf, std + self.eps)


def reward_ranges(batch: RewardBatch) -> Tensor:
    """High − low of each reward, (K,).

    Raises:
        DomainError: The batch has no specs, which declare the ranges.
    """
    if batch.specs is None:
        raise DomainError("Dividing rewards by their range needs `specs`, which declare the ranges; pass specs.")
    ranges = [spec.high - spec.low for spec in batch.specs]
    return torch.tensor(ranges, dtype=torch.float64, device=batch.given.device)
