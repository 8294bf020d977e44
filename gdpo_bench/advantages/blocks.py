"""The rewards of a batch in blocks, group by group, with what is absent marked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.groups import Groups
from gdpo_bench.advantages.options import Absent, Statistics, precision


@dataclass(frozen=True)
class Blocks:
    """What rollouts have, with which statistics within groups are made."""

    values: Tensor
    """(G, P, …), see `groups`; 0 where nothing enters."""
    groups: Groups
    dtype: torch.dtype
    """The precision in which the rewards came."""
    present: Tensor | None = None
    """Mask like `values`, or that broadcasts to it: what enters the statistics; None: everything."""
    sizes: Tensor | None = None
    """Like `values`, where they are sums: the sums of their terms' sizes."""
    everything: bool = False
    """Whether all rollouts enter, and `present` only tells where blocks have one."""

    @property
    def counts(self) -> int | Tensor:
        """How many of each group enter the statistics, at least 1: (P, …), or one number for all."""
        if self.present is None:
            return self.groups.counts
        if self.everything and isinstance(self.groups.counts, Tensor):
            return self.groups.counts.to(self.values.dtype).view(-1, *[1] * (self.values.dim() - 2))
        return self.groups.total(self.present.to(self.values.dtype)).clamp_(min=1)

    @property
    def term_sizes(self) -> Tensor:
        """How large the terms of each value are together, like `values`."""
        return self.values.abs() if self.sizes is None else self.sizes

    def rows(self) -> Tensor | None:
        """Which rollouts have anything that enters the statistics, (N,), or None if all have."""
        if self.present is None or self.everything:
            return None
        there = self.present.any(2) if self.present.dim() > 2 else self.present
        rows = self.groups.restore(there)
        return None if bool(rows.all()) else rows


def reward_blocks(
    batch: RewardBatch, *, missing: Absent = "skip", failed: Absent = "skip", statistics: Statistics = "float64"
) -> Blocks:
    """The rewards (G, P, K).

    Args:
        batch: The batch.
        missing: What becomes of rewards that are not applicable.
        failed: What becomes of rewards whose scorer failed.
        statistics: The precision of what is computed from them.

    Raises:
        DomainError: A reward is absent that must not be.
    """
    groups, dtype = batch.grouping, precision(statistics)
    entering, filled = entering_rewards(batch, missing, failed), groups.filled
    values = groups.arrange(batch.given, dtype)
    if entering is not None:
        return Blocks(values, groups, batch.dtype, groups.arrange(entering, torch.bool))
    present = None if filled is None else filled.unsqueeze(2)
    return Blocks(values, groups, batch.dtype, present, everything=True)


def sum_blocks(
    batch: RewardBatch,
    weights: Tensor,
    *,
    missing: Absent = "skip",
    failed: Absent = "skip",
    statistics: Statistics = "float64",
) -> Blocks:
    """Σ_k w_k r_k (G, P), for estimators that add rewards up first.

    Args:
        batch: The batch.
        weights: (K,).
        missing: What becomes of rewards that are not applicable.
        failed: What becomes of rewards whose scorer failed.
        statistics: The precision of what is computed from them.
    """
    found = reward_blocks(batch, missing=missing, failed=failed, statistics=statistics)
    rewards, present, weights = found.values, found.present, weights.to(found.values.dtype)
    if present is not None and not found.everything:
        neutral = (~batch.applicable & (missing == "skip")) | (batch.failed & (failed == "skip"))
        means = found.groups.total(torch.where(present, rewards, 0.0)) / found.counts
        # At its group's mean a reward is neutral once the group is centred.
        rewards = torch.where(found.groups.arrange(neutral, torch.bool) & ~present, means, rewards)
    rows = None if present is None else present.any(2)
    sums, sizes = rewards @ weights, rewards.abs() @ weights.abs()
    if rows is not None and not found.everything:
        sums = torch.where(rows, sums, 0.0)
    return Blocks(sums, found.groups, found.dtype, rows, sizes, found.everything)


def weighted_before(batch: RewardBatch, weights: Tensor | None = None) -> RewardBatch:
    """The batch with weighted rewards, and weights of one.

    Args:
        batch: The batch.
        weights: (K,), in place of the batch's own.
    """
    weights = batch.weights if weights is None else weights
    return replace(batch, given=batch.given * weights.to(batch.dtype), weights=torch.ones_like(batch.weights))


def entering_rewards(batch: RewardBatch, missing: Absent, failed: Absent) -> Tensor | None:
    """Which rewards enter the statistics: a mask (N, K), or None if all do.

    Raises:
        DomainError: A reward is absent that must not be.
    """
    if batch.complete:
        return None
    entering = torch.ones_like(batch.applicable)
    for policy, absent in ((missing, ~batch.applicable), (failed, batch.applicable & batch.failed)):
        if policy == "error" and bool(absent.any()):
            row, column = absent.nonzero()[0].tolist()
            raise DomainError(
                f"This normalizer refuses batches in which a reward is absent, and rollout {row} lacks reward "
                f"{column}; set missing= and failed= to 'skip' or 'zero'."
            )
        if policy != "zero":
            entering &= ~absent
    return None if bool(entering.all()) else entering
