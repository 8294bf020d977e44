"""Lagrangian: GRPO of the first reward plus multipliers times the others, which rise while targets are missed.

Source: the baseline in the code of arXiv 2602.06869 (yining610/ctwa, `ray_trainer_lagrangian.py`). With multipliers
λ_k ≥ 0 of all rewards but one, the objective (0 here), which start at 0, for each batch

    λ_k ← max(0, λ_k + lr (target_k − mean_batch(r_k)))
    A   = GRPO of w_0 r_0 + Σ_k λ_k w_k r_k

in this order, so that the batch already meets the new multipliers. They are not bounded above. A target is a mean
of its reward and has no default. Departs in two points:

1. Weights are ours; the source has none.
2. GRPO's rules for exact zeros.

The multipliers are state: `state_dict` and `load_state_dict` carry them over an interruption.

    python -m gdpo_bench.run --normalizers lagrangian:target=0.8
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gdpo_bench.advantages.arithmetic import batch_moments, standardize
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.domain import PerReward, Role, column, per_reward, refuse_other_rewards
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("lagrangian")
@dataclass(frozen=True)
class Lagrangian:
    """GRPO with multipliers that rise while other rewards are below their targets. Weights act on rewards."""

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
    objective: Role = None
    """The reward without a target, by name or number; the first unless named."""
    target: PerReward = None
    """Mean that each other reward should reach: one for all, a list, or by name. Required."""
    lr: float = 0.01
    """How fast multipliers move."""
    _state: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise OptionError(f"Option lr must be a finite number above 0; got {self.lr!r}.")

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse rewards for which targets are missing.

        Raises:
            OptionError: There is no target, or not one for each reward.
            UnknownNameError: A target is that of no reward, or there is no such objective.
        """
        objective = column(self.objective, "objective", specs, len(specs))
        per_reward(self.target, "target", specs, len(specs), without=objective)

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,); moves the multipliers."""
        objective = column(self.objective, "objective", batch.specs, batch.given.shape[1])
        factors = self._move(batch, objective)
        factors.insert(objective, 1.0)
        multipliers = batch.weights.new_tensor(factors)
        total = sum_blocks(
            batch, batch.weights * multipliers, missing=self.missing, failed=self.failed, statistics=self.statistics
        )
        return batch.grouping.restore(standardize(total, eps=self.eps, ddof=self.ddof, singleton=self.singleton))

    def state_dict(self) -> dict[str, Any]:
        """The multipliers as plain numbers."""
        return {name: list(values) for name, values in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.clear()
        self._state.update({name: list(values) for name, values in state.items()})

    def _move(self, batch: RewardBatch, objective: int) -> list[float]:
        """Move the multipliers by one batch and return them, (K − 1)."""
        k = batch.given.shape[1]
        targets = per_reward(self.target, "target", batch.specs, k, without=objective)
        old = self._state.get("multipliers", [0.0] * (k - 1))
        refuse_other_rewards("lagrangian", len(old) + 1, k)
        means, _ = batch_moments(batch, missing=self.missing, failed=self.failed)
        reached = means.tolist()
        del reached[objective]
        gaps = (target - mean for target, mean in zip(targets, reached, strict=True))
        self._state["multipliers"] = [max(0.0, one + self.lr * gap) for one, gap in zip(old, gaps, strict=True)]
        return list(self._state["multipliers"])
