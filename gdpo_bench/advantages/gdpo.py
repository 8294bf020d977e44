"""GDPO: normalize each reward within its group, then add.

Source: arXiv 2601.05242, Eq. 4 to 6:

    A_k = (r_k − mean_group(r_k)) / (std_group(r_k) + ε)       for each reward k
    A   = Σ_k w_k A_k
    Â   = (A − mean_batch(A)) / (std_batch(A) + ε)

Departs in two points: rewards that are equal throughout a group up to rounding give exactly 0,
where the paper's ε lets float noise through, and whitening keeps exact zeros. Without the last
line this is MO-GRPO (arXiv 2509.22047), registered as `gdpo_no_bn` and `mo_grpo`.

Weights act on advantages, in the paper and in every framework that is known to us. Put before the
normalization (`weighting="before"`) they cancel: (w r − w mean) / (w std) is the same for any w > 0,
but for what ε leaves. GRPO has no such choice: its weights act on rewards, and afterwards is GDPO.

    python -m gdpo_bench.run --normalizers gdpo gdpo_no_bn
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize, weighted_sum, whiten
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.grpo import GRPO
from gdpo_bench.advantages.options import Absent, Baseline, Scope, Singleton, Statistics, ZeroVariance, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import weighted_before


@register_normalizer("gdpo")
@register_normalizer("gdpo_no_bn", batch_norm=False)
@register_normalizer("mo_grpo", batch_norm=False)
@dataclass(frozen=True)
class GDPO:
    """Normalizes each reward by itself. Weights act on advantages."""

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
    grpo_if_single: bool = False
    """Whether a single reward is handed to GRPO, with the same options (the authors' TRL)."""

    def __post_init__(self) -> None:
        check_options(self)

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        if not self.batch_norm:
            return ("scope", "whitening_eps", "eps_in_root", "whiten_absent", "grpo_if_single")
        return ("eps_in_root",) if self.scope == "group" else ()

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        if self.grpo_if_single and self.batch_norm and batch.given.shape[1] == 1:
            return self._grpo()(batch)
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
        total = weighted_sum(per_reward, rewards, batch.weights, self.zero_variance)
        advantages = batch.grouping.restore(total)
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
            rows=None if self.whiten_absent else rewards.rows(),
        )

    def _grpo(self) -> GRPO:
        return GRPO(
            eps=self.eps,
            ddof=self.ddof,
            baseline=self.baseline,
            zero_variance=self.zero_variance,
            singleton=self.singleton,
            missing=self.missing,
            failed=self.failed,
            statistics=self.statistics,
        )
