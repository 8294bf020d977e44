"""NA with conditioning: a reward counts only where another one passes, inside the statistics.

Source: the package multireward-grpo 0.1.1 (PyPI), `advantage.py`. With a gate reward a and every other reward b,
per group and before anything is centred,

    zero_fill:  b ← b · 1[a passes]
    subgroup:   b ← (b − mean of b over the passing) · 1[a passes], all 0 with fewer than two passing
    A = Σ_k w_k (r_k − mean_group(r_k)) / (std_group(r_k) + ε)

with the population's deviation and ε = 1e-8; no whitening. A gate that a reward declares acts on rewards and is
`zero_fill`; `papo` is the neighbour of `subgroup` that takes the deviation from the passing rollouts, too.
Departs in three points:

1. a passes where the condition that b declares on it is met, and without one at exactly `passing`, 1 in the source.
2. All rewards beside the gate are conditioned; the source conditions one that is named. A reward whose gate is
   absent is absent.
3. GDPO's rules for exact zeros.

    python -m gdpo_bench.run --normalizers na_zero_fill na_subgroup:gate=correct
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize, weighted_sum
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.domain import Role, column
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec


@register_normalizer("na_zero_fill")
@register_normalizer("na_subgroup", rule="subgroup")
@dataclass(frozen=True)
class NA:
    """Conditions rewards on a gate, then normalizes each by itself. Weights act on advantages."""

    eps: float = 1e-8
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
    gate: Role = None
    """The gate reward, by name or number; the first unless named."""
    passing: float = 1.0
    """Value at which the gate passes for rewards that declare no condition on it."""
    rule: Literal["zero_fill", "subgroup"] = "zero_fill"
    """What becomes of a reward where the gate does not pass, and whether it is centred where it does."""

    def __post_init__(self) -> None:
        check_options(self)
        if not math.isfinite(self.passing):
            raise OptionError(f"Option passing must be finite; got {self.passing!r}.")

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse rewards without the gate that is named.

        Raises:
            UnknownNameError: There is no such reward.
        """
        column(self.gate, "gate", specs, len(specs))

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        gate = column(self.gate, "gate", batch.specs, batch.given.shape[1])
        rewards = self._conditioned(
            reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics),
            gate,
            batch.specs,
        )
        per_reward = standardize(rewards, eps=self.eps, ddof=self.ddof, singleton=self.singleton, overwrite=True)
        return batch.grouping.restore(weighted_sum(per_reward, rewards, batch.weights))

    def _conditioned(self, rewards: Blocks, gate: int, specs: Sequence[RewardSpec] | None) -> Blocks:
        """The rewards as the gate leaves them."""
        values, present = rewards.values, rewards.present
        passes = torch.stack([self._passes(values[..., gate], gate, k, specs) for k in range(values.shape[2])], dim=2)
        if present is not None:
            present = present & present[..., gate : gate + 1] if present.shape[2] > 1 else present
            passes = passes & present
        conditioned = values * passes
        if self.rule == "subgroup":
            counts = rewards.groups.total(passes.to(values.dtype))
            means = rewards.groups.total(conditioned) / counts.clamp(min=1)
            conditioned = ((conditioned - means) * passes).masked_fill_(counts < 2, 0.0)
        conditioned[..., gate] = values[..., gate]
        return Blocks(conditioned, rewards.groups, rewards.dtype, present, values.abs(), rewards.everything)

    def _passes(self, gates: Tensor, gate: int, k: int, specs: Sequence[RewardSpec] | None) -> Tensor:
        """Where the gate passes for reward `k`."""
        condition = specs[k].gate if specs is not None else None
        if specs is not None and condition is not None and condition.on == specs[gate].name:
            return gates >= condition.at_least
        return gates == self.passing
