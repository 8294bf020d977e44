"""Centring and scaling within groups, with the rules that keep zeros exact.

Floating point leaves noise where arithmetic on paper leaves 0, and dividing by a small standard
deviation makes the noise as large as a signal. Hence three rules, which `zero_variance="zero"`
(the default everywhere) applies:

1. Values that are equal throughout a group up to rounding are equal: they are centred to exactly 0,
   and a deviation of equal values divides nothing.
2. Terms that cancel throughout a group, but for rounding and ε, cancel: their sums are exactly 0.
3. A batch whose spread is rounding noise is whitened to 0, and a batch mean that is rounding noise
   is not subtracted, so that rollouts without signal stay at exactly 0 (see `whitening`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gdpo_bench.advantages.blocks import Blocks
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.options import Baseline, Singleton, ZeroVariance

EPS64 = torch.finfo(torch.float64).eps
_CANCELLED = 1e-4
"""Sums this small, beside the sizes of their terms, are what rounding and ε leave of 0: the default ε
takes less than that from a standardized reward whose deviation is above 0.01."""


def rounding(dtype: torch.dtype, terms: Tensor | int) -> Tensor | float:
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
    centred.masked_fill_(_equal(blocks, means, _deviations(blocks, centred, 1)), 0.0)
    if baseline == "leave_one_out":
        centred.mul_(blocks.counts / _at_least_one(blocks.counts - 1))
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
    equal = _equal(blocks, means, stds) if exact else None
    if apart:
        stds = _fellows_deviations(blocks, centred if exact else blocks.values, ddof)
        centred.mul_(blocks.counts / _at_least_one(blocks.counts - 1))
    undivided = None
    if zero_variance == "undivided_at_zero":
        undivided = stds == 0
    elif apart and zero_variance != "eps":
        undivided = _fellows_equal(blocks, exactly=not exact)
    elif zero_variance == "undivided":
        undivided = _one_value(blocks)
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
    sums = left.numpy(force=True)
    small = sums <= _CANCELLED * blocks.groups.largest * sum(map(abs, weights.tolist()))
    if not small.any() or not sums[small].any():
        return found
    return found.masked_fill_(left <= _CANCELLED * (total(advantages.abs()) @ weights.abs()), 0.0)


def _centred(blocks: Blocks, *, overwrite: bool = False) -> tuple[Tensor, Tensor]:
    """Means (P, …) of what is present, and its differences to them (G, P, …), 0 where nothing is."""
    values, present = blocks.values, blocks.present
    means = blocks.groups.total(values).div_(blocks.counts)
    centred = values.sub_(means) if overwrite else values - means
    return means, centred if present is None else centred.masked_fill_(~present, 0.0)


def _deviations(blocks: Blocks, centred: Tensor, ddof: int) -> Tensor:
    """Standard deviations (P, …) of centred values."""
    return blocks.groups.total(centred.square()).div_(_at_least_one(blocks.counts - ddof)).sqrt_()


def _equal(blocks: Blocks, means: Tensor, stds: Tensor) -> Tensor:
    """Whether a group's values are equal up to rounding, (P, …)."""
    return stds <= _slack(blocks, means)


def _slack(blocks: Blocks, values: Tensor) -> Tensor:
    """How far equal values may be apart by rounding, (P, …)."""
    sizes = values.abs() if blocks.sizes is None else blocks.groups.total(blocks.sizes) / blocks.counts
    return sizes.mul_(rounding(blocks.dtype, blocks.counts))


def _fellows_deviations(blocks: Blocks, values: Tensor, ddof: int) -> Tensor:
    """Standard deviation of each rollout's fellows, (G, P, …), from their first two moments, as NeMo-RL's.

    In float32 the difference of moments is noise where the fellows are equal, which is how one odd rollout of
    eight reaches an advantage of −2154.
    """
    total, others = blocks.groups.total, _at_least_one(blocks.counts - 1)
    mean, mean_square = (total(values) - values) / others, (total(values.square()) - values.square()) / others
    return ((mean_square - mean.square()) * (others / _at_least_one(others - ddof))).clamp_(min=0).sqrt_()


def _fellows_equal(blocks: Blocks, *, exactly: bool) -> Tensor:
    """Whether all fellows of a rollout have one value, (G, P, …), exactly or up to rounding."""
    highest, lowest = _extremes(blocks)
    slack = 0.0 if exactly else _slack(blocks, torch.maximum(highest.abs(), lowest.abs()))
    found = torch.zeros_like(blocks.values, dtype=torch.bool)
    # The values of all but this one are the group's largest, or its smallest.
    for same in (blocks.values >= highest - slack, blocks.values <= lowest + slack):
        there = (same if blocks.present is None else same & blocks.present).to(blocks.values.dtype)
        found |= blocks.groups.total(there) - there == blocks.counts - 1
    return found


def _one_value(blocks: Blocks) -> Tensor:
    """Whether a group's values are exactly equal, (P, …)."""
    highest, lowest = _extremes(blocks)
    return highest <= lowest


def _extremes(blocks: Blocks) -> tuple[Tensor, Tensor]:
    """The largest and the smallest value of each group, (P, …)."""
    values, absent = blocks.values, None if blocks.present is None else ~blocks.present
    highest, lowest = (
        blocks.groups.highest(one if absent is None else one.masked_fill(absent, -math.inf))
        for one in (values, -values)
    )
    return highest, -lowest


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


def _at_least_one(counts: int | Tensor) -> int | Tensor:
    return max(counts, 1) if isinstance(counts, int) else counts.clamp(min=1)
