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

from gdpo_bench.advantages.arithmetic import alone, centre
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.options import Absent, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks


@register_normalizer("opo")
@dataclass(frozen=True)
class OPO:
    """Centres on the length-weighted mean. Weights act on rewards."""

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

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), lengths (N,), group ids (N,) and weights (K,)."""
        if batch.lengths is None:
            raise DomainError("opo needs `lengths`, the token counts of the rollouts; pass lengths.")
        total = sum_blocks(batch, batch.weights, missing=self.missing, failed=self.failed, statistics=self.statistics)
        # Centred first: what is equal is then exactly 0, and the baseline below is relative to the mean.
        centred = centre(total)
        sum_of, lengths = batch.grouping.total, batch.grouping.arrange(batch.lengths, centred.dtype)
        there = torch.ones_like(centred) if total.present is None else total.present.to(centred.dtype)
        weights = torch.where(sum_of(lengths * there) > 0, lengths, 1.0) * there
        baselines = sum_of(weights * centred) / sum_of(weights).clamp(min=1e-30)
        return batch.grouping.restore(alone(total, (centred - baselines) * there, self.singleton))
