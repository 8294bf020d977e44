"""RVPO: a soft minimum over the normalized rewards, so that the worst one counts most.

Source: arXiv 2605.05750; checked against two ports (Artessay/Amo, zhaihaotian/DARA). From GDPO's A_k,

    S = −(1/k) ln( Σ_j w_j exp(−k A_j) / Σ_j w_j )
    A = (S − mean_batch(S)) / (std_batch(S) + ε)

k → 0 is GDPO, k → ∞ the worst reward; one reward is GDPO. A reward that is equal throughout a group stays in
as 0 and matters; one that a rollout does not have is left out. S has a negative mean, so that groups without
signal leave 0: that is the estimator. The paper takes k = 1 for two rewards, and lets it grow from 0.5 to 2
for rubrics. Domain: weights that are not negative. Departs in two points:

1. Weights are ours: the plain mean of the source becomes a weighted one.
2. GDPO's rules for exact zeros of A_k; and a batch whose soft minima differ by no more than ε and rounding make them
   differ, as where two rewards trade off in pairs, is whitened to 0.

    python -m gdpo_bench.run --normalizers rvpo
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import CANCELLED, reward_blocks, standardize, whiten
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.domain import refuse_negative_weights
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Scope, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("rvpo")
@dataclass(frozen=True)
class RVPO:
    """Adds GDPO's advantages by a soft minimum. Weights act as shares of that."""

    eps: float = 1e-6
    """Added to standard deviations."""
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
    batch_norm: bool = True
    """Whiten over the whole batch."""
    scope: Scope = "sequence"
    """What whitening counts once: a rollout, a token, or a rollout within its own group."""
    whitening_eps: float | None = None
    """ε of whitening, in place of `eps`."""
    eps_in_root: bool = False
    """Whether whitening adds ε to the variance (verl) and not to the standard deviation."""
    whiten_absent: bool = False
    """Whether a rollout that has no part in the statistics enters those of whitening, as 0."""
    k: float = 1.0
    """How much the worst reward counts more than others, above 0."""

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.k > 0 and math.isfinite(self.k)):
            raise OptionError(f"Option k must be a finite number above 0; got {self.k!r}.")

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        if not self.batch_norm:
            return ("scope", "whitening_eps", "eps_in_root", "whiten_absent")
        return ("eps_in_root",) if self.scope == "group" else ()

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse negative weights.

        Raises:
            DomainError: A weight is negative, or all are 0.
        """
        refuse_negative_weights((weights[spec.name] for spec in specs), "rvpo")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        refuse_negative_weights(batch.weights.tolist(), "rvpo")
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        per_reward = standardize(rewards, eps=self.eps, ddof=self.ddof, singleton=self.singleton, overwrite=True)
        size = float(per_reward.abs().mean())
        found = batch.grouping.restore(self._soft_minimum(per_reward, rewards, batch.weights.to(per_reward.dtype)))
        if not self.batch_norm:
            return found
        if float(found.max() - found.min()) <= CANCELLED * size:
            return torch.zeros_like(found)
        return whiten(
            found,
            batch,
            eps=self.eps if self.whitening_eps is None else self.whitening_eps,
            ddof=self.ddof,
            scope=self.scope,
            eps_in_root=self.eps_in_root,
            rows=None if self.whiten_absent else rewards.rows(),
        )

    def _soft_minimum(self, per_reward: Tensor, rewards: Blocks, weights: Tensor) -> Tensor:
        """S (G, P), 0 for a rollout without any reward."""
        exponents = per_reward.mul_(-self.k).add_(weights.log())
        if rewards.present is None or rewards.everything:
            return (exponents.logsumexp(2) - weights.sum().log()).div_(-self.k)
        exponents.masked_fill_(~rewards.present, -math.inf)
        there = rewards.present.to(weights.dtype) @ weights
        found = (exponents.logsumexp(2) - there.log()).div_(-self.k)
        return torch.where(there > 0, found, 0.0)
