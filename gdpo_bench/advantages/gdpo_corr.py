"""GDPO-Corr: GDPO whose last division is by the root of the summed correlations of its terms.

Source: arXiv 2609.36820, Appendix A and F.2.3, and its code (HKUST-KnowComp/CorrGRPO). With GDPO's A_k, weights
inside, Y_k = w_k A_k, S = Σ_k Y_k, and ρ the Pearson correlation over the whole batch,

    A = (S − mean_batch(S)) / √(max(Σ_kl ρ_kl(Y), 0) + ε)

With one reward the divisor is 1: GDPO without its last division. Departs in two points:

1. The mean counts each rollout once, as ρ does; the code's counts tokens (`scope="token"`).
2. GDPO's rules for exact zeros.

    python -m gdpo_bench.run --normalizers gdpo_corr
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import EPS64, reward_blocks, standardize, weighted_sum
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.options import Absent, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer


@register_normalizer("gdpo_corr")
@dataclass(frozen=True)
class GDPOCorr:
    """Divides GDPO's sum by what the correlation of its terms makes of its spread. Weights act on advantages."""

    eps: float = 1e-6
    """Added to standard deviations, and to the sum of correlations."""
    ddof: int = 1
    """1 for the sample standard deviation, 0 for the population's."""
    singleton: Singleton = "zero"
    """What becomes of a group of one."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""
    scope: Literal["sequence", "token"] = "sequence"
    """What the mean of the batch counts once."""

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        per_reward = standardize(rewards, eps=self.eps, ddof=self.ddof, singleton=self.singleton, overwrite=True)
        total = batch.grouping.restore(weighted_sum(per_reward, rewards, batch.weights))
        rows = rewards.rows()
        terms = (per_reward * batch.weights.to(per_reward.dtype)).flatten(0, 1)
        divisor = math.sqrt(_correlations(terms, len(batch) if rows is None else int(rows.sum())) + self.eps)
        centred = _without_mean(total, self._counts(batch, total, rows))
        return centred / divisor if divisor else centred

    def _counts(self, batch: RewardBatch, total: Tensor, rows: Tensor | None) -> Tensor:
        """How often each rollout counts in the mean, (N,)."""
        if self.scope == "token" and batch.lengths is None:
            raise DomainError("A mean over tokens (scope='token') needs `lengths`, the token counts; pass lengths.")
        counts = batch.lengths if self.scope == "token" and batch.lengths is not None else torch.ones_like(total)
        return counts.to(total.dtype) if rows is None else counts.to(total.dtype) * rows


def _without_mean(total: Tensor, counts: Tensor) -> Tensor:
    """S − its mean where it counts, 0 elsewhere; a mean that is rounding noise leaves exact zeros alone."""
    n = counts.sum().clamp(min=1)
    mean, size = float(counts @ total / n), float(counts @ total.abs() / n)
    if abs(mean) <= 2 * len(total) * EPS64 * size:
        return total
    return torch.where(counts > 0, total - mean, 0.0)


def _correlations(terms: Tensor, n: int) -> float:
    """Σ_kl ρ_kl, at least 0, of terms (…, K) of which n are there and the others 0."""
    sums = terms.sum(0)
    covariances = terms.T @ terms - torch.outer(sums, sums / max(n, 1))
    sizes = covariances.diagonal().clamp(min=0).sqrt()
    directions = torch.where(sizes > 0, 1 / sizes, 0.0)
    return max(float(directions @ covariances @ directions), 0.0)
