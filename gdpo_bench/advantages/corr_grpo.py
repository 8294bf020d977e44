"""CorrGRPO: divide the centred sum by the root of the summed correlations of the rewards.

Source: arXiv 2609.36820 and its code (HKUST-KnowComp/CorrGRPO). With x_k = w_k r_k and ρ the Pearson
correlation within the group,

    A = Σ_k (x_k − mean_group(x_k)) / √(max(Σ_kl ρ_kl, floor) + ε)

A reward that is equal throughout a group has no correlations, its own with itself included. With one
reward Σρ is 1, and this is Dr.GRPO. Rewards in perfect trade-off have Σρ = 0: correctness 0, 3, 0, 3 beside
format 1, 0, 1, 0 gives ±1,000, which is the estimator; `floor` bounds it.

The authors' code has ε inside the root, as above; their Eq. 2 outside of it (`eps_in_root=False`), which
makes ±1,000 a million. Departs in two points:

1. Sums that are equal throughout a group up to rounding give exactly 0, also where their terms are not.
2. `floor` is ours; 0 is the authors' clamp.

    python -m gdpo_bench.run --normalizers corr_grpo corr_grpo:floor=0.1
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import centre, reward_blocks
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks


@register_normalizer("corr_grpo")
@dataclass(frozen=True)
class CorrGRPO:
    """Divides the sum by what the correlation of the rewards makes of its spread. Weights act on rewards."""

    eps: float = 1e-6
    """Added to the sum of correlations."""
    eps_in_root: bool = True
    """Whether ε is added to the sum of correlations (the code), or to its root (Eq. 2)."""
    floor: float = 0.0
    """The least sum of correlations, between 0 and 1."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.floor <= 1:
            raise OptionError(f"Option floor must be between 0 and 1; got {self.floor!r}.")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        absent = {"missing": self.missing, "failed": self.failed}
        centred = centre(reward_blocks(batch, **absent, statistics=self.statistics))
        norms = batch.grouping.total(centred.square()).sqrt_()
        directions = batch.weights.sign().to(norms.dtype) / norms.masked_fill_(norms == 0, math.inf)
        correlations = batch.grouping.total((centred * directions).sum(2).square_())  # Σ_kl ρ_kl of each group
        correlations.clamp_(min=self.floor)
        divisors = (correlations + self.eps).sqrt_() if self.eps_in_root else correlations.sqrt_() + self.eps
        sums = centre(sum_blocks(batch, batch.weights, **absent, statistics=self.statistics))
        return batch.grouping.restore(torch.where(divisors > 0, sums / divisors, 0.0))
