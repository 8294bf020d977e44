"""SA-MRPO: weights that fall as a reward saturates in its declared range.

Source: arXiv 2608.16072, section 4.1 and Algorithm 1; no official code. From GDPO's A_k,

    s_k = (mean_batch(r_k) − low_k) / (high_k − low_k)
    S   = Σ_k w_k (1 − s_k)^γ A_k
    A   = (S − mean_batch(S)) / (std_batch(S) + ε)

γ = 0 is GDPO, and so is a single reward. A reward at its ceiling in the whole batch has no part. Domain:
declared ranges, and weights that are not negative. Departs in two points:

1. The paper divides by standard deviations without ε, which are the population's (`ddof=0`) both times.
2. GDPO's rules for exact zeros; s is kept within 0 and 1.

    python -m gdpo_bench.run --normalizers sa_mrpo
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from gdpo_bench.advantages.arithmetic import batch_moments, reward_blocks, standardize, weighted_sum, whiten
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.domain import declared_lows, declared_widths, refuse_negative_weights
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Scope, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("sa_mrpo")
@dataclass(frozen=True)
class SAMRPO:
    """Weights GDPO's advantages by what is left to gain. Weights act on advantages."""

    eps: float = 1e-6
    """Added to standard deviations."""
    ddof: int = 0
    """0 for the population's standard deviation, 1 for the sample's."""
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
    gamma: float = 0.5
    """How fast a weight falls with saturation; 0 is GDPO."""

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.gamma >= 0 and math.isfinite(self.gamma)):
            raise OptionError(f"Option gamma must be a finite number, at least 0; got {self.gamma!r}.")

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        return ("eps_in_root",) if self.scope == "group" else ()

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse negative weights.

        Raises:
            DomainError: A weight is negative, or all are 0.
        """
        refuse_negative_weights((weights[spec.name] for spec in specs), "sa_mrpo")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K) with specs, group ids (N,) and weights (K,)."""
        refuse_negative_weights(batch.weights.tolist(), "sa_mrpo")
        lows, widths = declared_lows(batch, "sa_mrpo"), declared_widths(batch, "sa_mrpo")
        means, _ = batch_moments(batch, missing=self.missing, failed=self.failed)
        left = 1 - ((means - lows) / widths).clamp(0, 1)
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        per_reward = standardize(rewards, eps=self.eps, ddof=self.ddof, singleton=self.singleton, overwrite=True)
        total = weighted_sum(per_reward, rewards, batch.weights * left**self.gamma)
        return whiten(
            batch.grouping.restore(total),
            batch,
            eps=self.eps if self.whitening_eps is None else self.whitening_eps,
            ddof=self.ddof,
            scope=self.scope,
            eps_in_root=self.eps_in_root,
            rows=None if self.whiten_absent else rewards.rows(),
        )
