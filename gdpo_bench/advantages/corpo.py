"""CoRPO: a baseline that is not below a threshold, so that failure is never rewarded.

Source: arXiv 2511.04439, Eq. 11. With s = Σ_k w_k r_k,

    A = s − max(threshold, mean_group(s))

No division, and not centred: a group below the threshold as a whole gets advantages below 0, also where all its
rollouts are equal, and also a group of one. Departs in one point: a group of equal sums at or above the
threshold gives exactly 0.

    python -m gdpo_bench.run --normalizers corpo
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import centre
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks


@register_normalizer("corpo")
@dataclass(frozen=True)
class CoRPO:
    """Subtracts the group's mean or the threshold, whichever is higher. Weights act on rewards."""

    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""
    threshold: float = 1.0
    """The weighted sum from which a rollout counts as correct."""

    def __post_init__(self) -> None:
        check_options(self)
        if not math.isfinite(self.threshold):
            raise OptionError(f"Option threshold must be finite; got {self.threshold!r}.")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        total = sum_blocks(batch, batch.weights, missing=self.missing, failed=self.failed, statistics=self.statistics)
        means = batch.grouping.total(total.values) / total.counts
        advantages = torch.where(means >= self.threshold, centre(total), total.values - self.threshold)
        if total.present is not None:
            advantages.masked_fill_(~total.present, 0.0)
        return batch.grouping.restore(advantages)
