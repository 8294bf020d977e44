"""REINFORCE++: whiten the summed rewards over the whole batch.

Source: arXiv 2501.03262. With s = Σ_k w_k r_k,

    reinforce_pp:           A = (s − mean_batch(s)) / (std_batch(s) + ε)
    reinforce_pp_baseline:  the same of s − mean_group(s)

Departs in two points: statistics count each rollout once (`scope="token"` counts tokens, as the
paper's code does), and a batch of equal sums gives exactly 0. Without the group baseline a group
of equal rewards does get an advantage: that is the estimator, not a rounding error.

    python -m gdpo_bench.run --normalizers reinforce_pp reinforce_pp_baseline
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gdpo_bench.advantages.arithmetic import centre, whiten
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.options import Absent, Baseline, Scope, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks


@register_normalizer("reinforce_pp")
@register_normalizer("reinforce_pp_baseline", group_baseline=True)
@dataclass(frozen=True)
class ReinforcePlusPlus:
    """Whitens the weighted sum of the rewards over the batch. Weights act on rewards."""

    eps: float = 1e-6
    """Added to standard deviations (TRL 1e-4, verl 1e-6)."""
    ddof: int = 1
    """1 for the sample standard deviation, which all frameworks use; 0 for the population's."""
    group_baseline: bool = False
    """Subtract the group's mean first."""
    baseline: Baseline = "mean"
    """Subtract the group's mean, or the mean of the group's other rollouts."""
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

    def __post_init__(self) -> None:
        check_options(self)

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        found = () if self.group_baseline else ("baseline", "singleton")
        return (*found, "eps_in_root") if self.scope == "group" else found

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        total = sum_blocks(batch, batch.weights, missing=self.missing, failed=self.failed, statistics=self.statistics)
        sums = centre(total, baseline=self.baseline, singleton=self.singleton) if self.group_baseline else total.values
        return whiten(
            batch.grouping.restore(sums),
            batch,
            eps=self.eps if self.whitening_eps is None else self.whitening_eps,
            ddof=self.ddof,
            scope=self.scope,
            eps_in_root=self.eps_in_root,
            rows=None if self.whiten_absent else total.rows(),
            sizes=batch.grouping.restore(total.term_sizes),
        )
