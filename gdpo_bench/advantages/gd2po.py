"""GD²PO: GDPO that drops rollouts whose rewards pull in opposite directions.

Source: arXiv 2606.16771 and its code. From GDPO's A_k, weights inside:

    s    = Σ_k w_k A_k / (Σ_k |w_k A_k| + 1e-8)
    keep = not (some A_k > 1e-8 and some A_k < −1e-8 [and |s| < τ])
    A    = Σ_k w_k A_k · keep · (kept share of the group)
    Â    = A whitened over the kept rollouts; the dropped get 0

The bracket is the soft rule (`gd2po`); without it every mixed rollout goes (`gd2po_hard`).
Departs in one point: GDPO's rules for exact zeros. The paper's experiments use τ from 0.2 (the
code's default) to 0.8.

    python -m gdpo_bench.run --normalizers gd2po gd2po_hard
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize, weighted_sum, whiten
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Baseline, Scope, Singleton, Statistics, ZeroVariance, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import weighted_before

_SIGN_EPS = 1e-8
_TIE = 1e-4
"""How far below τ still counts as τ: so that ε and rounding do not decide ties."""


@register_normalizer("gd2po")
@register_normalizer("gd2po_hard", rule="hard")
@dataclass(frozen=True)
class GD2PO:
    """Filters GDPO's rollouts by agreement among rewards. Weights act on advantages."""

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
    weighting: Literal["after", "before"] = "after"
    """Whether weights multiply normalized advantages, or rewards before they are normalized."""
    batch_norm: bool = True
    """Whiten over the whole batch (Eq. 6). Without it this is MO-GRPO."""
    scope: Scope = "sequence"
    """What whitening counts once: a rollout, a token, or a rollout within its own group."""
    whitening_eps: float | None = None
    """ε of whitening, in place of `eps`."""
    eps_in_root: bool = False
    """Whether whitening adds ε to the variance (verl) and not to the standard deviation."""
    whiten_absent: bool = False
    """Whether a rollout that has no part in the statistics enters those of whitening, as 0."""
    rule: Literal["soft", "hard"] = "soft"
    """`soft`: drop mixed signs where |s| < tau; `hard`: drop all mixed signs."""
    tau: float = 0.2
    """Agreement below which a mixed rollout is dropped."""

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.tau <= 1:
            raise OptionError(f"Option tau must be between 0 and 1; got {self.tau!r}.")

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        found: tuple[str, ...] = ("tau",) if self.rule == "hard" else ()
        if not self.batch_norm:
            return (*found, "scope", "whitening_eps", "eps_in_root", "whiten_absent")
        return (*found, "eps_in_root") if self.scope == "group" else found

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        if self.weighting == "before":
            batch = weighted_before(batch)
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        per_reward = standardize(
            rewards,
            eps=self.eps,
            ddof=self.ddof,
            baseline=self.baseline,
            zero_variance=self.zero_variance,
            singleton=self.singleton,
            overwrite=True,
        )
        terms = per_reward * batch.weights.to(per_reward.dtype)
        total, size = weighted_sum(per_reward, rewards, batch.weights, self.zero_variance), terms.abs().sum(2)
        keep = ~((terms > _SIGN_EPS).any(2) & (terms < -_SIGN_EPS).any(2))
        if self.rule == "soft":
            keep |= (total / (size + _SIGN_EPS)).abs() >= self.tau - _TIE
        counted = torch.ones_like(keep) if rewards.present is None else rewards.present.any(2)
        kept = keep & counted
        sum_of = batch.grouping.total
        share = sum_of(kept.to(size.dtype)) / sum_of(counted.to(size.dtype)).clamp(min=1)
        advantages = batch.grouping.restore(total * kept * share)
        if not self.batch_norm:
            return advantages
        return whiten(
            advantages,
            batch,
            eps=self.eps if self.whitening_eps is None else self.whitening_eps,
            ddof=self.ddof,
            scope=self.scope,
            eps_in_root=self.eps_in_root,
            zero_variance=self.zero_variance,
            rows=None if self.whiten_absent else batch.grouping.restore(kept),
        )
