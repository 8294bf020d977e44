"""SAW: weights that follow how much each reward varies over the batch, beside its mean.

Source: arXiv 2606.07705 and its code (Zhaolutuan/SAW, `gdpo-h` and `grpo-h`). With x_k = r_k − low_k over the
whole batch and GDPO's A_k,

    CV_k = std_batch(x_k) / (|mean_batch(x_k)| + δ)
    c_k  = CV_k / Σ_l CV_l
    saw:       A = S whitened over the batch, S = Σ_k w_k K c_k A_k
    saw_grpo:  A = GRPO of Σ_k w_k c_k r_k

Where text and code differ, `rule` chooses: `code` adds δ to the mean and to ΣCV, and all CV of 0 give c = 0;
`paper` adds δ to x and to the mean, and all CV of 0 give equal shares. The code multiplies by 2, its number of
rewards, in both forms; in the second this cancels but for ε. Domain: declared lows, which decide, as this is
not invariant to a shift. Departs in two points:

1. Any number of rewards; the code has two, and +3 and 0 as shifts. The paper's static priorities α_k are our weights.
2. GDPO's and GRPO's rules for exact zeros.

    python -m gdpo_bench.run --normalizers saw saw_grpo
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import batch_moments, reward_blocks, standardize, weighted_sum, whiten
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.domain import declared_lows
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Scope, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks

Rule = Literal["code", "paper"]


@register_normalizer("saw")
@dataclass(frozen=True)
class SAW:
    """Weights GDPO's advantages by coefficients of variation. Weights act on advantages."""

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
    delta: float = 1e-8
    """δ, which keeps the coefficients of variation finite."""
    rule: Rule = "code"
    """Where δ is added, and what no variation at all gives."""

    def __post_init__(self) -> None:
        check_options(self)
        _check_delta(self.delta)

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        return ("eps_in_root",) if self.scope == "group" else ()

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K) with specs, group ids (N,) and weights (K,)."""
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        moments = batch_moments(batch, missing=self.missing, failed=self.failed, ddof=self.ddof)
        shares = _shares(moments, declared_lows(batch, "saw"), self.delta, self.rule)
        per_reward = standardize(rewards, eps=self.eps, ddof=self.ddof, singleton=self.singleton, overwrite=True)
        total = weighted_sum(per_reward, rewards, batch.weights * shares * len(shares))
        return whiten(
            batch.grouping.restore(total),
            batch,
            eps=self.eps if self.whitening_eps is None else self.whitening_eps,
            ddof=self.ddof,
            scope=self.scope,
            eps_in_root=self.eps_in_root,
            rows=None if self.whiten_absent else rewards.rows(),
        )


@register_normalizer("saw_grpo")
@dataclass(frozen=True)
class SAWGRPO:
    """GRPO whose weights follow coefficients of variation. Weights act on rewards."""

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
    delta: float = 1e-8
    """δ, which keeps the coefficients of variation finite."""
    rule: Rule = "code"
    """Where δ is added, and what no variation at all gives."""

    def __post_init__(self) -> None:
        check_options(self)
        _check_delta(self.delta)

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K) with specs, group ids (N,) and weights (K,)."""
        moments = batch_moments(batch, missing=self.missing, failed=self.failed, ddof=self.ddof)
        shares = _shares(moments, declared_lows(batch, "saw_grpo"), self.delta, self.rule)
        total = sum_blocks(
            batch, batch.weights * shares, missing=self.missing, failed=self.failed, statistics=self.statistics
        )
        return batch.grouping.restore(standardize(total, eps=self.eps, ddof=self.ddof, singleton=self.singleton))


def _check_delta(delta: float) -> None:
    if not (delta >= 0 and math.isfinite(delta)):
        raise OptionError(f"Option delta must be a finite number, at least 0; got {delta!r}.")


def _shares(moments: tuple[Tensor, Tensor], lows: Tensor, delta: float, rule: Rule) -> Tensor:
    """Each reward's share c (K,), float64, of the coefficients of variation."""
    means, deviations = moments
    shifted = means - lows
    size = ((shifted + delta) if rule == "paper" else shifted).abs() + delta
    variation = torch.where(deviations > 0, deviations / size, 0.0)
    total = variation.sum() + (delta if rule == "code" else 0)
    if total == 0:
        return torch.full_like(variation, 1 / len(variation) if rule == "paper" else 0.0)
    return variation / total
