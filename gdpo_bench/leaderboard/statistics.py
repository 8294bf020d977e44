"""How sure a result is: means, and paired differences over shared seeds, with t-intervals.

The unit is the independent cluster. Runs that began from the same warm start share its luck, so
with several warm starts their RL seeds are averaged first and the warm starts are counted: an
interval over all runs pooled covers the truth far less often than it claims. With one warm start
only its RL seeds can be counted; then the interval says nothing of other warm starts, and `unit`
says so.

Two runs with the same seed also share their tasks. Differences within such pairs vary much less
than the runs do, which is why comparisons are paired.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from gdpo_bench.leaderboard.schema import Entry, Seed

CONFIDENCE = 0.95
_ROUNDING = 1e-12
"""Relative size below which a difference of two floats is their rounding."""

Unit = Literal["warm start", "RL seed", "single evaluation"]
"""What was counted. `single evaluation`: nothing was random."""


@dataclass(frozen=True)
class Estimate:
    """A mean over independent units."""

    mean: float
    half_width: float | None
    """Of the t-interval; `None` with one unit. 0 where all units agree exactly."""
    n: int
    """Number of units."""
    unit: Unit

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.half_width is not None and abs(self.mean) > self.half_width


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """Mean of the differences, first minus second, over the seeds that both ran."""

    wins: int
    """Units in which the first is higher."""
    losses: int
    """Units in which the first is lower."""


def estimate(values: Mapping[Seed | None, float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean over clusters with its t-interval.

    Args:
        values: Seed → value, at least one.
        confidence: Coverage of the interval, in (0, 1).
    """
    means, unit = _cluster_means(values)
    return Estimate(float(means.mean()), _half_width(means, confidence), len(means), unit)


def paired_difference(
    first: Mapping[Seed | None, float], second: Mapping[Seed | None, float], confidence: float = CONFIDENCE
) -> PairedDifference | None:
    """Compare two sets of results over the seeds that they share.

    Args:
        first: Seed → value.
        second: Seed → value of what it is compared with.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The difference, or `None` if no seed is shared.
    """
    shared = [seed for seed in first if seed in second]
    if not shared:
        return None
    means, unit = _cluster_means({seed: first[seed] - second[seed] for seed in shared})
    scale = max(max(abs(first[seed]), abs(second[seed])) for seed in shared)
    means[np.abs(means) <= _ROUNDING * scale] = 0.0
    return PairedDifference(
        mean=float(means.mean()),
        half_width=_half_width(means, confidence),
        n=len(means),
        unit=unit,
        wins=int((means > 0).sum()),
        losses=int((means < 0).sum()),
    )


def finals(entry: Entry, reward: str) -> dict[Seed | None, float]:
    """Seed → value of a reward at the last evaluation."""
    return {result.seed: result.rewards[reward].final for result in entry.results}


def areas(entry: Entry, reward: str) -> dict[Seed | None, float]:
    """Seed → mean of a reward over all evaluations, which rewards learning early."""
    return {result.seed: result.rewards[reward].area for result in entry.results}


def dominates(first: Entry, second: Entry) -> bool:
    """Whether the first Pareto-dominates the second, as far as the seeds that both ran can tell.

    Its mean is at least as high in every reward, and in one of them the interval of the paired
    difference excludes 0. Means alone would call nearly every row of a noisy table dominated.
    """
    differences = [paired_difference(finals(first, name), finals(second, name)) for name in first.results[0].rewards]
    return all(d is not None and d.mean >= 0 for d in differences) and any(d and d.excludes_zero for d in differences)


def _cluster_means(values: Mapping[Seed | None, float]) -> tuple[NDArray[np.float64], Unit]:
    """Mean of each independent unit, and what the units are."""
    warm_starts: defaultdict[int | None, list[float]] = defaultdict(list)
    for seed, value in values.items():
        warm_starts[seed.warm_start if seed else None].append(value)
    if len(warm_starts) > 1:
        return np.array([np.mean(runs) for runs in warm_starts.values()]), "warm start"
    unit: Unit = "single evaluation" if set(values) == {None} else "RL seed"
    return np.array(list(values.values()), dtype=np.float64), unit


def _half_width(means: NDArray[np.float64], confidence: float) -> float | None:
    """Half of the t-interval of a mean."""
    n = len(means)
    if n < 2:
        return None
    spread = float(means.std(ddof=1))
    if spread <= _ROUNDING * float(np.abs(means).max()):
        return 0.0
    return float(special.stdtrit(n - 1, (1 + confidence) / 2)) * spread / math.sqrt(n)
