"""Tchebycheff: GRPO of how far the worst reward is from the best value seen.

Source: the baseline in the code of arXiv 2602.06869 (yining610/ctwa, `ray_trainer_tchebycheff.py`); the scalarization
is classical. With the ideal z_k, the largest value of each reward in all batches so far,

    A = GRPO of −max_k w_k (z_k − r_k)

The scale of all weights cancels but for ε; the source wants them to add up to 1. Domain: weights that are not
negative. Departs in two points:

1. The source's z also sees the zeros of padding, hence is at least 0; ours is so by `from_zero`.
2. A reward that a rollout does not have is left out of its maximum; and GRPO's rules for exact zeros.

The ideal is state: `state_dict` and `load_state_dict` carry it over an interruption.

    python -m gdpo_bench.run --normalizers tchebycheff
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.domain import refuse_negative_weights, refuse_other_rewards
from gdpo_bench.advantages.options import Absent, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("tchebycheff")
@dataclass(frozen=True)
class Tchebycheff:
    """Normalizes the worst reward's distance from the best value seen. Weights act on distances."""

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
    ideal: Literal["running_max", "batch_max"] = "running_max"
    """The best value of all batches so far, or of the batch alone."""
    from_zero: bool = True
    """Whether the ideal is at least 0."""
    _state: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_options(self)

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse negative weights.

        Raises:
            DomainError: A weight is negative, or all are 0.
        """
        refuse_negative_weights((weights[spec.name] for spec in specs), "tchebycheff")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,); moves the ideal."""
        refuse_negative_weights(batch.weights.tolist(), "tchebycheff")
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        values, present = rewards.values, rewards.present
        weights = (batch.weights / batch.weights.sum()).to(values.dtype)
        distances = (self._move(rewards) - values) * weights
        rows = None if present is None else present.any(2)
        if present is not None:
            distances = distances.masked_fill(~present, -math.inf)
        worst, sizes = -distances.amax(2), (values.abs() * weights).amax(2)
        if rows is not None:
            worst = worst.masked_fill(~rows, 0.0)
        total = Blocks(worst, batch.grouping, batch.dtype, rows, sizes + worst.abs(), rewards.everything)
        return batch.grouping.restore(standardize(total, eps=self.eps, ddof=self.ddof, singleton=self.singleton))

    def state_dict(self) -> dict[str, Any]:
        """The ideal as plain numbers; None where a reward was never there."""
        return {name: [one if math.isfinite(one) else None for one in values] for name, values in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.clear()
        self._state.update(
            {name: [-math.inf if one is None else one for one in values] for name, values in state.items()}
        )

    def _move(self, rewards: Blocks) -> Tensor:
        """Move the ideal by one batch and return it, (K,)."""
        values, present = rewards.values, rewards.present
        best = (values if present is None else values.masked_fill(~present, -math.inf)).amax((0, 1)).tolist()
        old = self._state.get("ideal", [0.0 if self.from_zero else -math.inf] * len(best))
        if self.ideal == "batch_max":
            old = [0.0 if self.from_zero else -math.inf] * len(best)
        refuse_other_rewards("tchebycheff", len(old), len(best))
        found = [max(pair) for pair in zip(old, best, strict=True)]
        if self.ideal == "running_max":
            self._state["ideal"] = found
        return values.new_tensor([one if math.isfinite(one) else 0.0 for one in found])
