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

from gdpo_bench.advantages.arithmetic import centre, rounding, standardize
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.options import Absent, Baseline, Singleton, Statistics, ZeroVariance, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks


@register_normalizer("grpo")
@register_normalizer("grpo_no_std", scale="none")
@register_normalizer("grpo_batch_std", scale="batch")
@register_normalizer("grpo_scaled", divide_by_range=True)
@register_normalizer("rloo", scale="none", baseline="leave_one_out")
@dataclass(frozen=True)
class GRPO:
    """Normalizes the weighted sum of the rewards. Weights act on rewards."""

    eps: float = 1e-6
    """Added to standard deviations (TRL 1e-4, verl 1e-6)."""
    ddof: int = 1
    """1 for the sample standard deviation, which all frameworks use; 0 for the population's."""
    baseline: Baseline = "mean"
    """Subtract the group's mean, or the mean of the group's other rollouts."""
    zero_variance: ZeroVariance = "zero"
    """What becomes of groups whose rewards are equal."""
    singleton: Singleton = "zero"
    """What becomes of a group of one."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""
    scale: Literal["group", "batch", "none"] = "group"
    """Whose standard deviation to divide by."""
    divide_by_range: bool = False
    """Divide each reward by its declared high − low before adding; needs specs."""

    def __post_init__(self) -> None:
        check_options(self)

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        return {"group": (), "batch": ("zero_variance",), "none": ("eps", "ddof", "zero_variance")}[self.scale]

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        weights = batch.weights / reward_ranges(batch) if self.divide_by_range else batch.weights
        total = sum_blocks(batch, weights, missing=self.missing, failed=self.failed, statistics=self.statistics)
        if self.scale == "group":
            advantages = standardize(
                total,
                eps=self.eps,
                ddof=self.ddof,
                baseline=self.baseline,
                zero_variance=self.zero_variance,
                singleton=self.singleton,
            )
        else:
            advantages = centre(total, baseline=self.baseline, singleton=self.singleton)
            if self.scale == "batch":
                advantages.div_(self._batch_divisor(total))
        return batch.grouping.restore(advantages)

    def _batch_divisor(self, total: Blocks) -> Tensor | float:
        sums, sizes = total.values, total.term_sizes
        if total.present is not None:
            sums, sizes = sums[total.present], sizes[total.present]
        if sums.numel() <= 1:
            return math.inf
        std = sums.std(correction=self.ddof)
        equal = std <= rounding(total.dtype, sums.numel()) * sizes.mean()
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
