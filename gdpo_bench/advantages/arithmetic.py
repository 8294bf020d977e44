"""What estimators are made of: rewards in blocks, centred, scaled, weighted and whitened.

Floating point leaves noise where arithmetic on paper leaves 0, and dividing by a small standard
deviation makes the noise as large as a signal. Hence three rules, which `zero_variance="zero"`
(the default everywhere) applies:

1. Values that are equal throughout a group up to rounding are equal: they are centred to exactly 0,
   and a deviation of equal values divides nothing.
2. Terms that cancel throughout a group, but for rounding and ε, cancel: their sums are exactly 0.
3. A batch whose spread is rounding noise is whitened to 0, and a batch mean that is rounding noise
   is not subtracted, so that rollouts without signal stay at exactly 0.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.fellows import fellows_deviations, fellows_equal, minus_fellows
from gdpo_bench.advantages.options import PRECISION, Absent, Baseline, Scope, Singleton, Statistics, ZeroVariance

EPS64 = torch.finfo(torch.float64).eps
CANCELLED = 1e-4
"""Sums this small, beside the sizes of their terms, are what rounding and ε leave of 0: the default ε
takes less than that from a standardized reward whose deviation is above 0.01."""


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
    groups, entering = batch.grouping, entering_rewards(batch, missing, failed)
    values = groups.arrange(batch.given, PRECISION[statistics])
    if entering is not None:
        return Blocks(values, groups, batch.dtype, groups.arrange(entering, torch.bool))
    present = None if groups.filled is None else groups.filled.unsqueeze(2)
    return Blocks(values, groups, batch.dtype, present, everything=True)


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


def batch_moments(
    batch: RewardBatch, *, missing: Absent = "skip", failed: Absent = "skip", ddof: int = 1
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each reward over the rollouts that have it, (K,) and (K,) float64.

    Args:
        batch: The batch.
        missing: What becomes of rewards that are not applicable.
        failed: What becomes of rewards whose scorer failed.
        ddof: 1 for the sample standard deviation, 0 for the population's; of one value it is 0.
    """
    entering = entering_rewards(batch, missing, failed)
    if entering is None:
        deviations, means = torch.std_mean(batch.rewards, 0, correction=min(ddof, len(batch) - 1))
        return means, deviations
    counted = entering.to(torch.float64)
    counts = counted.sum(0)
    means = (batch.rewards * counted).sum(0) / counts.clamp(min=1)
    squares = ((batch.rewards - means).square() * counted).sum(0)
    return means, (squares / (counts - ddof).clamp(min=1)).sqrt()


def rounding(dtype: torch.dtype, terms: Tensor | float) -> Tensor | float:
    """Relative spread that rounding can give to equal values.

    Args:
        dtype: The precision in which the values came.
        terms: How many of them a float64 mean adds up.

    Returns:
        Two roundings of the input, and the error of the mean.
    """
    return 2 * torch.finfo(dtype).eps + 4 * EPS64 * terms


def centre(blocks: Blocks, *, baseline: Baseline = "mean", singleton: Singleton = "zero") -> Tensor:
    """X − baseline within groups, for each column by itself.

    Args:
        blocks: Values (G, P, …).
        baseline: The group's mean, or that of the fellows.
        singleton: What a group of one gets.

    Returns:
        Like the values; exactly 0 where values are absent, and throughout a group of equal ones.

    Raises:
        DomainError: There is a group of one, and `singleton` is `error`.
    """
    means, centred = _centred(blocks)
    centred.masked_fill_(_deviations(blocks, centred, 1) <= _slack(blocks, means), 0.0)
    if baseline == "leave_one_out":
        centred = minus_fellows(blocks, centred)
    return alone(blocks, centred, singleton, 1.0)


def standardize(
    blocks: Blocks,
    *,
    eps: float = 1e-6,
    ddof: int = 1,
    baseline: Baseline = "mean",
    zero_variance: ZeroVariance = "zero",
    singleton: Singleton = "zero",
    overwrite: bool = False,
) -> Tensor:
    """(x − baseline) / (std + ε) within groups, for each column by itself.

    Args:
        blocks: Values (G, P, …).
        eps: Added to the standard deviation.
        ddof: 1 for the sample standard deviation, 0 for the population's.
        baseline: Whose mean and deviation: the group's, or the fellows'.
        zero_variance: What becomes of equal values.
        singleton: What a group of one gets.
        overwrite: Whether the values are not needed any more, which saves memory.

    Returns:
        Like the values; 0 where they are absent, and by `zero` exactly 0 throughout a group of equal ones.

    Raises:
        DomainError: There is a group of one, and `singleton` is `error`.
    """
    exact, apart = zero_variance == "zero", baseline == "leave_one_out"
    means, centred = _centred(blocks, overwrite=overwrite and not apart and singleton != "raw")
    stds = _deviations(blocks, centred, ddof)
    equal = stds <= _slack(blocks, means) if exact else None
    if apart:
        stds = fellows_deviations(blocks, centred if exact else blocks.values, ddof)
        centred = minus_fellows(blocks, centred)
    undivided = None
    if zero_variance == "undivided_at_zero":
        undivided = stds == 0
    elif apart and zero_variance != "eps":
        highest, lowest = blocks.extremes()
        slack = _slack(blocks, torch.maximum(highest.abs(), lowest.abs())) if exact else 0.0
        undivided = fellows_equal(blocks, slack)
    elif zero_variance == "undivided":
        undivided = torch.le(*blocks.extremes())
    divisors = stds.add_(eps)
    if undivided is not None:
        divisors.masked_fill_(undivided, 1.0)
    if equal is not None:
        divisors.masked_fill_(equal, math.inf)
    return alone(blocks, centred.div_(divisors), singleton, 1 + eps)


def weighted_sum(advantages: Tensor, blocks: Blocks, weights: Tensor, zero_variance: ZeroVariance = "zero") -> Tensor:
    """Σ_k w_k A_k, by `zero` exactly 0 throughout a group whose terms cancel.

    Args:
        advantages: Standardized A_k (G, P, K).
        blocks: What they are of.
        weights: (K,).
        zero_variance: What becomes of equal values.

    Returns:
        (G, P).
    """
    weights, total = weights.to(advantages.dtype), blocks.groups.total
    found = advantages @ weights
    if zero_variance != "zero":
        return found
    left = total(found.abs())
    # Ordinary batches have nothing small but exact zeros, and need no second look at all terms.
    sums, bound = left.numpy(force=True), CANCELLED * blocks.groups.largest * sum(map(abs, weights.tolist()))
    if not np.count_nonzero(sums[sums <= bound]):
        return found
    return found.masked_fill_(left <= CANCELLED * (total(advantages.abs()) @ weights.abs()), 0.0)


def whiten(
    values: Tensor,
    batch: RewardBatch,
    *,
    eps: float = 1e-6,
    ddof: int = 1,
    scope: Scope = "sequence",
    eps_in_root: bool = False,
    zero_variance: ZeroVariance = "zero",
    rows: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """(x − mean) / (std + ε) over the scope.

    Args:
        values: (N,).
        batch: The batch.
        eps: Added to the standard deviation.
        ddof: 1 for the sample standard deviation, 0 for the population's.
        scope: What counts once.
        eps_in_root: Whether ε is added to the variance (verl) and not to the standard deviation; not of `group`.
        zero_variance: What becomes of equal values.
        rows: Mask (N,): which rollouts enter the statistics; the others become 0.
        sizes: (N,), the size of the terms that each value is a sum of.

    Returns:
        (N,); by `zero` a zero stays one wherever the mean is 0 up to rounding.

    Raises:
        DomainError: Counting tokens needs token counts.
    """
    if scope == "group":
        blocks = _blocks(values, batch, rows, sizes)
        return batch.grouping.restore(standardize(blocks, eps=eps, ddof=ddof, zero_variance=zero_variance))
    if scope == "token" and batch.lengths is None:
        raise DomainError("Whitening over tokens (scope='token') needs `lengths`, the token counts; pass lengths.")
    counts = None if scope == "sequence" or batch.lengths is None else batch.lengths.to(values.dtype)
    if rows is not None:
        counts = rows.to(values.dtype) if counts is None else counts * rows
    rollouts = values.shape[0]
    n = float(rollouts if counts is None else counts.sum())
    if n <= 1:
        return torch.zeros_like(values)
    exact, mean, variance = zero_variance == "zero", _total(values, counts) / n, _squares(values, counts) / n
    size = math.sqrt(variance) if sizes is None else _total(sizes, counts) / n
    if not exact or abs(mean) > 2 * rollouts * EPS64 * size:
        values = values - mean
        variance = _squares(values, counts) / n
    variance *= n / (n - ddof)
    if exact and math.sqrt(variance) <= rounding(batch.dtype, rollouts) * size:
        return torch.zeros_like(values)
    divisor = math.sqrt(variance + eps) if eps_in_root else math.sqrt(variance) + eps
    if variance == 0 and (zero_variance != "eps" or not divisor):
        divisor = 1.0
    whitened = values / divisor
    return whitened if rows is None else torch.where(rows, whitened, 0.0)


def _centred(blocks: Blocks, *, overwrite: bool = False) -> tuple[Tensor, Tensor]:
    """Means (P, …) of what is present, and its differences to them (G, P, …), 0 where nothing is."""
    values, presence, out = blocks.values, blocks.presence, blocks.values if overwrite else None
    means = blocks.groups.total(values).div_(blocks.counts)
    if presence is None:
        return means, torch.sub(values, means, out=out)
    return means, torch.addcmul(values, means, presence, value=-1, out=out)


def _deviations(blocks: Blocks, centred: Tensor, ddof: int) -> Tensor:
    """Standard deviations (P, …) of centred values."""
    return blocks.groups.total(centred.square()).div_(blocks.degrees(ddof)).sqrt_()


def _slack(blocks: Blocks, values: Tensor) -> Tensor:
    """How far equal values may be apart by rounding, (P, …)."""
    sizes = values.abs() if blocks.sizes is None else blocks.groups.total(blocks.sizes) / blocks.counts
    return sizes.mul_(rounding(blocks.dtype, blocks.counts))


def alone(blocks: Blocks, found: Tensor, singleton: Singleton, divisor: float = 1.0) -> Tensor:
    """Apply the rule for groups of one to what was found for all: `raw` is the value over the divisor."""
    if singleton == "error" and blocks.groups.smallest == 1:
        raise DomainError(
            "This normalizer is not defined for a group of one; set singleton='zero', or draw more rollouts."
        )
    if singleton != "raw":
        return found
    alone = torch.as_tensor(blocks.counts == 1, device=found.device)
    return torch.where(alone, blocks.values / divisor, found)


def _total(values: Tensor, counts: Tensor | None) -> float:
    return float(values.sum() if counts is None else counts @ values)


def _squares(values: Tensor, counts: Tensor | None) -> float:
    return float(torch.linalg.vector_norm(values)) ** 2 if counts is None else _total(values.square(), counts)


def _blocks(values: Tensor, batch: RewardBatch, rows: Tensor | None, sizes: Tensor | None) -> Blocks:
    groups, dtype = batch.grouping, values.dtype
    present = groups.filled if rows is None else groups.arrange(rows, torch.bool)
    terms = None if sizes is None else groups.arrange(sizes, dtype)
    return Blocks(groups.arrange(values, dtype), groups, batch.dtype, present, terms)
