"""Rewards weighted or added up before anything else is done with them, as GRPO does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.options import Absent, Statistics


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
        missing: As of `reward_blocks`, like what follows.
        failed: Likewise.
        statistics: Likewise.
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
