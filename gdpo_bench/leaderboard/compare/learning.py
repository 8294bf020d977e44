"""How a quantity was learned: by how many units, how early, and how much of it over the whole of training.

A unit learned a quantity if it ends at or above the middle of the quantity's range. Where runs of a unit are several,
their mean counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from gdpo_bench.core.intervals import Bounds
from gdpo_bench.leaderboard.compare.statistics import Estimate, estimate
from gdpo_bench.leaderboard.compare.units import clusters_of
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Curve, Entry, Seed, SeedResult


@dataclass(frozen=True)
class Learning:
    """One quantity of one entry, over training."""

    learned: int
    """Units that end at or above the middle of the range."""
    n: int
    step: float | None
    """Median over these of the first evaluated step at which they were there; `None` if there are none."""
    area: Estimate
    """Mean over all evaluations, which rewards learning early."""


def curve_of(result: SeedResult, name: str) -> Curve | None:
    """Curve of a reward, of a canonical metric or of the primary endpoint; `None` where it was not measured."""
    if name == ALL_RIGHT:
        return result.all_right
    metrics = {str(metric): curve for metric, curve in result.metrics.items()}
    return result.rewards.get(name) or metrics.get(name)


def learning(entry: Entry, name: str, bounds: Bounds) -> Learning | None:
    """How an entry's runs learned a quantity.

    Args:
        entry: The entry.
        name: As `curve_of` takes it.
        bounds: Least and largest possible value.

    Returns:
        The summary; `None` where no run measured it.
    """
    found = {result.seed: (result.steps, curve) for result in entry.results if (curve := curve_of(result, name))}
    if not found:
        return None
    clusters, _ = clusters_of(list(found))
    middle = (bounds[0] + bounds[1]) / 2
    reached = [_reached({seed: found[seed] for seed in cluster}, middle) for cluster in clusters]
    steps = [step for step in reached if step is not None]
    return Learning(
        learned=len(steps),
        n=len(clusters),
        step=median(steps) if steps else None,
        area=estimate({seed: curve.area for seed, (_, curve) in found.items()}, bounds),
    )


def _reached(runs: Mapping[Seed | None, tuple[list[int], Curve]], middle: float) -> int | None:
    """First step at which the runs' mean is at or above the middle; `None` where it does not end there."""
    shared = sorted(set.intersection(*(set(steps) for steps, _ in runs.values())))
    at = [dict(zip(steps, curve.curve, strict=True)) for steps, curve in runs.values()]
    means = [float(np.mean([one[step] for one in at])) for step in shared]
    if means[-1] < middle:
        return None
    return next(step for step, value in zip(shared, means, strict=True) if value >= middle)
