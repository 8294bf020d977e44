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

from gdpo_bench.advantages.arithmetic import centre
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.options import Absent, Baseline, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("maxrl")
@dataclass(frozen=True)
class MaxRL:
    """Divides by the mean in place of the standard deviation. Weights act on rewards."""

    eps: float = 1e-6
    """Added to the mean."""
    baseline: Baseline = "mean"
    """Subtract the group's mean, or the mean of the group's other rollouts."""
    singleton: Singleton = "zero"
    """What becomes of a group of one."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""

    def __post_init__(self) -> None:
        check_options(self)

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
        total = sum_blocks(batch, batch.weights, missing=self.missing, failed=self.failed, statistics=self.statistics)
        sums = total.values
        if bool((sums < 0).any()):
            found = batch.grouping.restore(sums)
            row = int(found.argmin())
            raise DomainError(
                f"maxrl needs sums of rewards that are not negative; rollout {row} has {found[row].item():.6g}. "
                "Shift the reward, or give it another weight."
            )
        centred = centre(total, baseline=self.baseline, singleton=self.singleton)
        means = batch.grouping.total(sums) / total.counts
        # Where the mean is 0 so is every reward, and 0 / 1 stays 0 also with ε = 0.
        return batch.grouping.restore(centred / torch.where(means > 0, means + self.eps, 1.0))
