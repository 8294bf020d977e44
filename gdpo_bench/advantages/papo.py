"""PAPO: the outcome is compared in the whole group, the process among its correct rollouts only.

Source: arXiv 2603.26535 and its code (tanzelin430/PAPO, `grpo_dual` in verl, and in ROLL). With an outcome
reward o, correct rollouts being those with r_o = `correct` (1 in the source), and process rewards k,

    A = w_o A_o + λ Σ_k w_k A'_k
    A_o  = (r_o − mean_group(r_o)) / (std_group(r_o) + ε)
    A'_k = the same of r_k over the group's correct rollouts, 0 for others and with fewer than two of them

No whitening. The ablation that compares processes in the whole group is `gdpo_no_bn`. A single reward is GRPO.
Departs in two points:

1. The source has one process; weights and a sum over several are ours.
2. Values that are equal up to rounding give exactly 0; the code takes a deviation up to 1e-6 for none.

    python -m gdpo_bench.run --normalizers papo papo:outcome=correctness,correct=3
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize, weighted_sum
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.domain import Role, column
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("papo")
@dataclass(frozen=True)
class PAPO:
    """Normalizes processes among correct rollouts only. Weights act on advantages."""

    eps: float = 1e-6
    """Added to standard deviations."""
    ddof: int = 1
    """1 for the sample standard deviation, 0 for the population's."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""
    outcome: Role = None
    """The outcome reward, by name or number; the first unless named."""
    correct: float = 1.0
    """Value of the outcome by which a rollout is correct."""
    lam: float = 1.0
    """λ, what processes count beside the outcome."""

    def __post_init__(self) -> None:
        check_options(self)
        for name, value in (("lam", self.lam), ("correct", self.correct)):
            if not math.isfinite(value):
                raise OptionError(f"Option {name} must be finite; got {value!r}.")

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse rewards without the outcome that is named.

        Raises:
            UnknownNameError: There is no such reward.
        """
        column(self.outcome, "outcome", specs, len(specs))

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        outcome = column(self.outcome, "outcome", batch.specs, batch.given.shape[1])
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        correct = rewards.values[..., outcome : outcome + 1] == self.correct
        present = correct if rewards.present is None else correct & rewards.present
        present = present.expand_as(rewards.values).clone()
        present[..., outcome] = True if rewards.present is None else rewards.present.expand_as(present)[..., outcome]
        counted = Blocks(rewards.values.masked_fill(~present, 0.0), batch.grouping, batch.dtype, present)
        per_reward = standardize(counted, eps=self.eps, ddof=self.ddof, overwrite=True)
        weights = batch.weights * self.lam
        weights[outcome] = batch.weights[outcome]
        return batch.grouping.restore(weighted_sum(per_reward, counted, weights))
