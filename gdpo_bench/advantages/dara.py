"""DARA: amplify rewards that differ in few groups.

Source: arXiv 2610.00574 and its code (zhaihaotian/DARA). From GDPO's A_k, with the density π_k, the share of
groups in which reward k differs (Σ|A_k| > 1e-8),

    b_k  = min(cap, √(max_l π_l / π_k))
    asym:  S = Σ_k w_k (A_k + (b_k − 1) max(A_k, 0))
    sym:   S = Σ_k w_k b_k A_k
    A    = (S − mean_batch(S)) / (std_batch(S) + ε)

With one reward, or rewards of equal density, this is GDPO. `asym` moves the batch's mean, so that groups
without signal leave 0 as soon as densities differ: that is the estimator. Departs in three points:

1. Weights are ours; the source has none.
2. A reward that differs nowhere keeps b = 1 (README, mathematics code; the tool-calling code logs the cap),
   without effect on any number.
3. GDPO's rules for exact zeros, and whitening over rollouts (the mathematics code; the tool-calling code
   whitens over tokens: `scope="token"`, `eps_in_root=True`, `whitening_eps=1e-8`).

    python -m gdpo_bench.run --normalizers dara dara_sym
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize, weighted_sum, whiten
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Scope, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer

_DIFFERS = 1e-8


@register_normalizer("dara")
@register_normalizer("dara_sym", rule="sym")
@dataclass(frozen=True)
class DARA:
    """Amplifies GDPO's advantages of rewards that differ in few groups. Weights act on advantages."""

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
    scope: Scope = "sequence"
    """What whitening counts once: a rollout, a token, or a rollout within its own group."""
    whitening_eps: float | None = None
    """ε of whitening, in place of `eps`."""
    eps_in_root: bool = False
    """Whether whitening adds ε to the variance (verl) and not to the standard deviation."""
    whiten_absent: bool = False
    """Whether a rollout that has no part in the statistics enters those of whitening, as 0."""
    rule: Literal["asym", "sym"] = "asym"
    """Whether only what is above its group's mean is amplified, or all of it."""
    cap: float = 5.0
    """The largest amplification, at least 1."""

    def __post_init__(self) -> None:
        check_options(self)
        if not self.cap >= 1:
            raise OptionError(f"Option cap must be at least 1; got {self.cap!r}.")

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        return ("eps_in_root",) if self.scope == "group" else ()

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        per_reward = standardize(rewards, eps=self.eps, ddof=self.ddof, singleton=self.singleton, overwrite=True)
        differs = (batch.grouping.total(per_reward.abs()) > _DIFFERS).to(per_reward.dtype)
        factors = self._amplification(batch.grouping.mean_of_groups(differs))
        if self.rule == "asym":
            per_reward.add_(per_reward.clamp(min=0).mul_(factors - 1))
            factors = torch.ones_like(factors)
        total = weighted_sum(per_reward, rewards, batch.weights * factors)
        return whiten(
            batch.grouping.restore(total),
            batch,
            eps=self.eps if self.whitening_eps is None else self.whitening_eps,
            ddof=self.ddof,
            scope=self.scope,
            eps_in_root=self.eps_in_root,
            rows=None if self.whiten_absent else rewards.rows(),
        )

    def _amplification(self, density: Tensor) -> Tensor:
        """B (K,) from the share of groups in which each reward differs."""
        return torch.where(density > 0, (density.max() / density).sqrt().clamp(max=self.cap), 1.0)
