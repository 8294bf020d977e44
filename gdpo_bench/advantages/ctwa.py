"""CTWA: weights of rewards grow while the advantages do too little for them.

Source: arXiv 2602.06869 and its code (yining610/ctwa, `ray_trainer_covariance.py`, `workers/actor/core_algos.py`).
Weights v start as shares of the user's weights, which add up to 1. For each batch

    A = GRPO of Σ_k v_k r_k
    c_k = mean over groups of the covariance of r_k with A in the group
    EMA_k ← c_k at first, then momentum · EMA_k + (1 − momentum) · c_k
    log v_k ← log v_k + lr · max(0, target_k − EMA_k)   where mean_batch(r_k) < cap_k

Rollouts with |A| above 100 times the median, and then groups with fewer than two, have no part in c. Weights are
not renormalized: they only grow. As shipped, c is the covariance; `statistic="correlation"` is the other that
their code offers. A target has no general default: they take 0.1, 0.05, 0.05 for three rewards, and caps of 1, 0.95,
0.95.
Departs in three points:

1. Their covariance is with advantage × probability ratio × (not clipped), averaged over a rollout's tokens after
   the update. Ours is the on-policy case, where ratios are 1 and nothing is clipped.
2. The base estimator is GRPO; they take any, and REINFORCE++ in their example.
3. A negative weight starts as its share and grows in size; and GRPO's rules for exact zeros.

Weights and average are state: `state_dict` and `load_state_dict` carry them over an interruption.

    python -m gdpo_bench.run --normalizers ctwa:target=0.1
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import batch_moments, centre, reward_blocks, standardize
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.domain import PerReward, per_reward, refuse_other_rewards
from gdpo_bench.advantages.errors import DomainError, OptionError
from gdpo_bench.advantages.options import Absent, Singleton, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import sum_blocks
from gdpo_bench.core.rewards import RewardSpec

_OUTLIER = 100.0
_NO_SPREAD = 1e-8


@register_normalizer("ctwa")
@dataclass(frozen=True)
class CTWA:
    """GRPO whose weights grow for rewards that advantages do little for. Weights are where they start."""

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
    target: PerReward = None
    """Covariance that each reward should have: one for all, a list, or by name. Required."""
    cap: PerReward = None
    """Mean from which a reward's weight grows no more; None: it always may."""
    lr: float = 0.02
    """How fast logarithms of weights grow."""
    momentum: float = 0.9
    """Share of the old average that a batch leaves in place."""
    statistic: Literal["covariance", "correlation"] = "covariance"
    """What of rewards and advantages is averaged."""
    _state: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise OptionError(f"Option lr must be a finite number above 0; got {self.lr!r}.")
        if not 0 <= self.momentum < 1:
            raise OptionError(f"Option momentum must be at least 0 and below 1; got {self.momentum!r}.")

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse rewards for which targets are missing.

        Raises:
            OptionError: There is no target, or not one for each reward.
            UnknownNameError: A target or cap is that of no reward.
            DomainError: All weights are 0.
        """
        per_reward(self.target, "target", specs, len(specs))
        self._caps(specs, len(specs))
        _shares([weights[spec.name] for spec in specs])

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,); then moves the weights."""
        k = batch.given.shape[1]
        targets = per_reward(self.target, "target", batch.specs, k)
        caps = self._caps(batch.specs, k)
        logarithms = self._state.get("log_weights") or [
            math.log(max(abs(share), 1e-8)) for share in _shares(batch.weights.tolist())
        ]
        refuse_other_rewards("ctwa", len(logarithms), k)
        weights = batch.weights.new_tensor(logarithms).exp() * batch.weights.sign()
        total = sum_blocks(batch, weights, missing=self.missing, failed=self.failed, statistics=self.statistics)
        advantages = standardize(total, eps=self.eps, ddof=self.ddof, singleton=self.singleton)
        found = self._statistic(batch, total, advantages)
        old = self._state.get("ema", found)
        ema = [self.momentum * a + (1 - self.momentum) * b for a, b in zip(old, found, strict=True)]
        means, _ = batch_moments(batch, missing=self.missing, failed=self.failed)
        self._state["ema"] = ema
        self._state["log_weights"] = [
            one + (self.lr * max(0.0, target - average) if mean < cap else 0.0)
            for one, target, average, mean, cap in zip(logarithms, targets, ema, means.tolist(), caps, strict=True)
        ]
        return batch.grouping.restore(advantages)

    def state_dict(self) -> dict[str, Any]:
        """Weights and average as plain numbers."""
        return {name: list(values) for name, values in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.clear()
        self._state.update({name: list(values) for name, values in state.items()})

    def _caps(self, specs: Sequence[RewardSpec] | None, k: int) -> list[float]:
        return [math.inf] * k if self.cap is None else per_reward(self.cap, "cap", specs, k)

    def _statistic(self, batch: RewardBatch, total: Blocks, advantages: Tensor) -> list[float]:
        """C (K): mean over groups of the covariance, or correlation, of rewards with advantages."""
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        groups, outliers = batch.grouping, _outliers(advantages, total.present)
        if outliers is not None:
            advantages = advantages.masked_fill(outliers, 0.0)
            there = ~outliers.unsqueeze(2) if rewards.present is None else rewards.present & ~outliers.unsqueeze(2)
            rewards = Blocks(rewards.values.masked_fill(~there, 0.0), groups, batch.dtype, there)
        # Advantages of a whole group add up to 0, so that its covariance needs no second mean.
        whole = self.statistic == "covariance" and (rewards.present is None or rewards.everything)
        centred = rewards.values if whole else centre(rewards)
        counts = torch.as_tensor(rewards.counts, device=centred.device, dtype=centred.dtype)
        found = groups.total(advantages.unsqueeze(2) * centred) / counts
        counted = (counts >= 2).expand_as(found)
        if self.statistic == "correlation":
            kept = Blocks(advantages, groups, batch.dtype, None if rewards.present is None else rewards.present.any(2))
            spreads = groups.total(centred.square()) * groups.total(centre(kept).square()).unsqueeze(1)
            spreads = spreads.sqrt() / counts
            counted = counted & (spreads > _NO_SPREAD)
            found = found / spreads.clamp(min=_NO_SPREAD)
        shares = groups.mean_of_groups(counted.to(found.dtype))
        return (groups.mean_of_groups(found * counted) / torch.where(shares > 0, shares, 1.0)).tolist()


def _outliers(advantages: Tensor, present: Tensor | None) -> Tensor | None:
    """Where an advantage is above 100 times the median of those that are there, or None if nowhere."""
    sizes = advantages.abs()
    n = sizes.numel() if present is None else int(present.sum())
    # Usually most are of the largest one's order, which needs no median.
    if 2 * int((sizes * _OUTLIER >= sizes.max()).sum()) > n:
        return None
    median = (sizes if present is None else sizes[present]).quantile(0.5)
    return sizes > _OUTLIER * median if median > 0 else None


def _shares(weights: Sequence[float]) -> list[float]:
    """The weights, scaled so that their sizes add up to 1.

    Raises:
        DomainError: All are 0.
    """
    size = sum(map(abs, weights))
    if size == 0:
        raise DomainError("ctwa needs a weight other than 0 to start from.")
    return [weight / size for weight in weights]
