"""Constrained GRPO: multipliers on normalized advantages, one softmax over the objective and its constraints.

Source: arXiv 2602.05863, Theorem 4.1 ("scalarized advantages"), and a public implementation that is not known to be
the authors'. One reward, 0 here, is the objective, the others say whether a constraint is met (1) or violated (0), with
costs C_k = 1 − r_k. With λ = softmax(logits), the multipliers before this batch,

    A = λ_0 A_0 − Σ_k λ_k A(C_k)

A(x) being x normalized in its group. Then one step of Adam (β 0.9 and 0.999, ε 1e-5) on the logits, down
−Σ_k λ_k (mean_batch(C_k) − threshold_k). No whitening. λ adds up to 1 and starts equal; λ_0 moves too, through the
softmax. A single reward is GRPO. Domain: constraints declared between 0 and 1, fractions included. Departs in three
points:

1. The violation rate is the mean over the batch; the implementation weights by the policy over candidates.
2. Weights multiply the terms; the source has none.
3. GDPO's rules for exact zeros.

Logits and Adam's moments are state: `state_dict` and `load_state_dict` carry them over an interruption.

    python -m gdpo_bench.run --normalizers constrained_grpo
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gdpo_bench.advantages.arithmetic import batch_moments, reward_blocks, standardize, weighted_sum
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.domain import PerReward, Role, column, per_reward, refuse_other_rewards
from gdpo_bench.advantages.errors import DomainError, OptionError
from gdpo_bench.advantages.options import Absent, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec

_START = 0.02
_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-5


@register_normalizer("constrained_grpo")
@dataclass(frozen=True)
class ConstrainedGRPO:
    """Weights normalized advantages by multipliers that rise with violations. Weights act on advantages."""

    eps: float = 1e-5
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
    """The reward that is no constraint, by name or number; the first unless named."""
    threshold: PerReward = 0.01
    """Rate of violation that is tolerated: one for all constraints, a list, or by name."""
    lr: float = 0.03
    """Adam's step on the logits of the multipliers."""
    _state: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise OptionError(f"Option lr must be a finite number above 0; got {self.lr!r}.")

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse constraints that do not lie between 0 and 1.

        Raises:
            DomainError: One may lie elsewhere.
            OptionError: There is not one threshold for each constraint.
            UnknownNameError: A threshold is that of no constraint, or there is no such objective.
        """
        objective = column(self.objective, "objective", specs, len(specs))
        per_reward(self.threshold, "threshold", specs, len(specs), without=objective)
        for i, spec in enumerate(specs):
            if i == objective:
                continue
            if spec.low < 0 or spec.high > 1:
                raise DomainError(
                    f"constrained_grpo needs constraints between 0 (violated) and 1 (met); {spec.name} goes from "
                    f"{spec.low:g} to {spec.high:g}."
                )

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,); then moves the multipliers."""
        k = batch.given.shape[1]
        objective = column(self.objective, "objective", batch.specs, k)
        thresholds = per_reward(self.threshold, "threshold", batch.specs, k, without=objective)
        logits = self._state.get("logits", [_START] * k)
        refuse_other_rewards("constrained_grpo", len(logits), k)
        multipliers = _softmax(logits)
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        per_term = standardize(rewards, eps=self.eps, ddof=self.ddof, singleton=self.singleton, overwrite=True)
        # −A(1 − r) is A(r).
        total = weighted_sum(per_term, rewards, batch.weights * batch.weights.new_tensor(multipliers))
        means, _ = batch_moments(batch, missing=self.missing, failed=self.failed)
        rates = means.tolist()
        del rates[objective]
        slopes = [1 - mean - most for mean, most in zip(rates, thresholds, strict=True)]
        slopes.insert(objective, 0.0)
        self._step(logits, multipliers, slopes)
        return batch.grouping.restore(total)

    def state_dict(self) -> dict[str, Any]:
        """Logits and Adam's moments as plain numbers."""
        return {name: list(values) for name, values in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.clear()
        self._state.update({name: list(values) for name, values in state.items()})

    def _step(self, logits: list[float], multipliers: list[float], slopes: list[float]) -> None:
        """One step of Adam, by how far violations are above what is tolerated (K); 0 for the objective."""
        mean = sum(one * slope for one, slope in zip(multipliers, slopes, strict=True))
        gradient = [-one * (slope - mean) for one, slope in zip(multipliers, slopes, strict=True)]
        zeros = [0.0] * len(logits)
        (steps,), (first, second) = self._state.get("steps", [0.0]), _BETAS
        means = [
            first * old + (1 - first) * new
            for old, new in zip(self._state.get("adam_mean", zeros), gradient, strict=True)
        ]
        squares = [
            second * old + (1 - second) * new**2
            for old, new in zip(self._state.get("adam_square", zeros), gradient, strict=True)
        ]
        steps += 1
        self._state["logits"] = [
            one - self.lr * (m / (1 - first**steps)) / (math.sqrt(v / (1 - second**steps)) + _ADAM_EPS)
            for one, m, v in zip(logits, means, squares, strict=True)
        ]
        self._state.update({"steps": [steps], "adam_mean": means, "adam_square": squares})


def _softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(one - max(logits)) for one in logits]
    return [power / sum(powers) for power in powers]
