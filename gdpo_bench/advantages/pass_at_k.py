"""Pass@k: credit a rollout for the best of the k-subsets of its group that it is part of.

Source: Pass@k Training, arXiv 2508.10751, whose closed form is for binary rewards:

    R = 1 − C(N_wrong, k) / C(G, k),  σ = √(R (1 − R))
    A_right = (1 − R) / σ
    A_wrong = (1 − R − C(N_wrong − 1, k − 1) / C(G − 1, k − 1)) / σ

Here for any s = Σ_k w_k r_k: R and σ are mean and standard deviation of the best s over all
k-subsets of the group, and A is the mean best over the subsets with this rollout, minus R, over
σ + ε. For binary s that is the closed form (tested, also against enumeration of all subsets).
A group of k or fewer has a single subset or none, hence no comparison: 0.

    python -m gdpo_bench.run --normalizers pass_at_k:k=2
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import centre, rounding
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks


@register_normalizer("pass_at_k")
@dataclass(frozen=True)
class PassAtK:
    """Normalizes what a rollout adds to the best of k. Weights act on rewards."""

    eps: float = 1e-6
    """Added to the standard deviation."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""

    k: int = 4
    """Size of the subsets; 1 is GRPO with the population's standard deviation."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.k < 1:
            raise OptionError(f"Option k must be at least 1; got {self.k}.")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        total = sum_blocks(batch, batch.weights, missing=self.missing, failed=self.failed, statistics=self.statistics)
        centred, rows = batch.grouping.restore(centre(total)), total.rows()
        kept = torch.arange(len(batch), device=centred.device) if rows is None else rows.nonzero().squeeze(1)
        kept = kept[batch.grouping.index[kept].argsort(stable=True)]
        _, sizes = torch.unique_consecutive(batch.grouping.index[kept], return_counts=True)
        advantages = torch.zeros_like(centred)
        for n in sizes.unique().tolist():
            if n > self.k:
                members = kept[torch.repeat_interleave(sizes == n, sizes)].reshape(-1, n)
                advantages[members] = self._best_of_subsets(centred[members], batch.dtype)
        return advantages

    def _best_of_subsets(self, sums: Tensor, dtype: torch.dtype) -> Tensor:
        """Advantages (B, n) of B groups of one size n > k; `sums` is centred."""
        n, k = sums.shape[1], self.k
        best, order = sums.sort(dim=1)
        # Of all subsets, C(j, k−1) have the j-th smallest (from 0) as their best.
        share = sums.new_tensor([math.comb(j, k - 1) / math.comb(n, k) for j in range(n)])
        mean = best @ share
        std = ((best - mean[:, None]).square() @ share).sqrt()
        # Of those with rollout i, C(i, k−1) have it as their best, C(j−1, k−2) a better one j > i.
        own = sums.new_tensor([math.comb(i, k - 1) / math.comb(n - 1, k - 1) for i in range(n)])
        other = sums.new_tensor(
            [math.comb(j - 1, k - 2) / math.comb(n - 1, k - 1) if k > 1 and j > 0 else 0.0 for j in range(n)]
        )
        above = (best * other).flip(1).cumsum(1).flip(1) - best * other
        gain = best * own + above - mean[:, None]
        equal = std <= rounding(dtype, n) * best.abs().amax(1)
        divisor = torch.where(equal, math.inf, std + self.eps)
        return torch.empty_like(sums).scatter_(1, order, gain / divisor[:, None])
