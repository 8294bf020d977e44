"""How sure a result is: means, paired differences over shared seeds, and what may be said of them.

The unit is the independent cluster. Runs that began from the same warm start share its luck, so
with several warm starts their RL seeds are averaged first and the warm starts are counted: an
interval over all runs pooled covers the truth far less often than it claims. With one warm start
only its RL seeds can be counted; then the interval says nothing of other warm starts, and `unit`
says so. A pretrained policy has no warm start: each RL seed is a unit.

Two runs with the same seed also share their tasks. Differences within such pairs vary much less
than the runs do, which is why comparisons are paired.

What an interval is made of stands in `intervals`, how well it covers in `docs/statistics.md`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdpo_bench.leaderboard.compare.intervals import ROUNDING, Floats, Layout, cluster_means, mean_interval
from gdpo_bench.leaderboard.files.schema import Entry, Seed

CONFIDENCE = 0.95

Unit = Literal["warm start", "RL seed", "single evaluation"]
"""What was counted. `single evaluation`: nothing was random."""
Verdict = Literal["better", "worse", "equal", "undecided"]
"""What a paired difference supports. `equal`: 0 in every unit. `undecided`: could be either."""
Relation = Literal["dominates", "is dominated", "trade-off", "equal", "undecided"]
"""What the paired differences in all rewards support, of the first against the second."""


@dataclass(frozen=True)
class Estimate:
    """A mean over independent units."""

    mean: float
    half_width: float | None
    """Of the interval; `None` with one unit. 0 where all units agree exactly."""
    n: int
    """Number of units."""
    unit: Unit
    runs: int
    """Number of runs in all units."""

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
    p: float | None
    """Two-sided p-value of no difference, of this quantity alone; `None` with one unit."""


def estimate(values: Mapping[Seed | None, float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean over clusters with its interval.

    Args:
        values: Seed → value, at least one.
        confidence: Coverage of the interval, in (0, 1).
    """
    runs, layout, unit = clustered(values)
    half_width, _ = mean_interval(runs, layout, confidence)
    return Estimate(float(cluster_means(runs, layout).mean()), half_width, len(layout), unit, len(runs))


def mean(values: Mapping[Seed | None, float]) -> float:
    """Mean over clusters of at least one value."""
    runs, layout, _ = clustered(values)
    return float(cluster_means(runs, layout).mean())


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
    scale = max(max(abs(first[seed]), abs(second[seed])) for seed in shared)
    differences = {seed: first[seed] - second[seed] for seed in shared}
    runs, layout, unit = clustered({s: 0.0 if abs(d) <= ROUNDING * scale else d for s, d in differences.items()})
    means = cluster_means(runs, layout)
    half_width, p = mean_interval(runs, layout, confidence)
    return PairedDifference(
        mean=float(means.mean()),
        half_width=half_width,
        n=len(means),
        unit=unit,
        runs=len(runs),
        wins=int((means > 0).sum()),
        losses=int((means < 0).sum()),
        p=p,
    )


def judge(difference: PairedDifference | None, adjusted_p: float | None) -> Verdict:
    """What may be said of a difference.

    Args:
        difference: The difference, or `None` if there are no shared seeds.
        adjusted_p: Its p-value after Holm's correction over all that is compared with it.
    """
    if difference is None or adjusted_p is None:
        return "undecided"
    if difference.half_width == difference.mean == 0:
        return "equal"
    if adjusted_p > 1 - CONFIDENCE + ROUNDING:
        return "undecided"
    return "better" if difference.mean > 0 else "worse"


def pareto(verdicts: Sequence[Verdict]) -> Relation:
    """What verdicts on all rewards say together.

    To dominate, each reward must be better or equal in every unit, and one of them better. A reward
    that is undecided might be worse, so that nothing dominates while there is one. Better in one and
    worse in another is a trade-off whatever the others are.
    """
    found = set(verdicts)
    if {"better", "worse"} <= found:
        return "trade-off"
    if not found or "undecided" in found:
        return "undecided"
    if found == {"equal"}:
        return "equal"
    return "dominates" if "better" in found else "is dominated"


def finals(entry: Entry, reward: str) -> dict[Seed | None, float]:
    """Seed → value of a reward at the last evaluation; seeds in which it applied to nothing are missing."""
    return {
        result.seed: result.rewards[reward].final
        for result in entry.results
        if result.applicable_share.get(reward, 1.0) > 0
    }


def areas(entry: Entry, reward: str) -> dict[Seed | None, float]:
    """Seed → mean of a reward over all evaluations, which rewards learning early."""
    return {result.seed: result.rewards[reward].area for result in entry.results}


def clusters_of(seeds: Sequence[Seed | None]) -> tuple[list[list[Seed | None]], Unit]:
    """The independent units among runs, each with its runs, in the order of their first; and what they are."""
    warm_starts: defaultdict[int | None, list[Seed | None]] = defaultdict(list)
    for seed in seeds:
        warm_starts[seed.warm_start if seed else None].append(seed)
    if len(warm_starts) > 1:
        return list(warm_starts.values()), "warm start"
    return [[seed] for seed in seeds], "single evaluation" if set(seeds) == {None} else "RL seed"


def clustered(values: Mapping[Seed | None, float]) -> tuple[Floats, Layout, Unit]:
    """Values (runs,) cluster after cluster, the number of runs in each, and what a cluster is."""
    clusters, unit = clusters_of(list(values))
    runs = np.array([values[seed] for cluster in clusters for seed in cluster], dtype=np.float64)
    return runs, tuple(map(len, clusters)), unit
