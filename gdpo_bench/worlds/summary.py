"""What a simulation's rows say: who learned how often, and how near they came to the Pareto front.

k of n has the exact interval of Clopper and Pearson. n counts cells × seeds, which share no randomness; learning rates
do, so these are never added up. Where cells differ in how often they succeed, the interval is wider than it had to be.
Means over learning rates take cell and seed as one unit; their interval is Student's, cut to [0, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdpo_bench.core.intervals import Interval, clopper_pearson, mean_interval
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.worlds.factorial import WEIGHT, Factorial, cells
from gdpo_bench.worlds.front import distance_to_front, front_hypervolume, hypervolume, pareto_front, share_of_range
from gdpo_bench.worlds.simulate import Row
from gdpo_bench.worlds.world import Floats, make_world

ALL = "all"
"""The factor of a design without factors, and the level of what is not divided."""


@dataclass(frozen=True)
class Mean:
    """A mean and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Count:
    """k of n runs."""

    k: int
    n: int
    low: float
    """Of the probability, by Clopper and Pearson."""
    high: float

    @classmethod
    def of(cls, outcomes: Sequence[bool]) -> Count:
        """How many of independent outcomes were successes."""
        k, n = sum(outcomes), len(outcomes)
        interval = clopper_pearson(k, n)
        return cls(k, n, interval.low, interval.high)


@dataclass(frozen=True)
class Effect:
    """A normalizer at one level of a factor, over all levels of the others."""

    factor: str
    level: Any
    normalizer: str
    learned: dict[float, Count]
    """Learning rate → how many runs learned."""
    all_right: Mean
    """Share of right replies, over cells, seeds and learning rates."""


@dataclass(frozen=True)
class FrontResult:
    """How near a normalizer comes to a world's Pareto front, over a sweep of weights."""

    levels: dict[str, Any]
    """Of the factors other than the weight."""
    normalizer: str
    learning_rate: float
    hypervolume: Mean
    """Of the sweep's policies, as a share of the front's."""
    distance: Mean
    """From a policy's mean rewards, each as a share of its range, to the front; mean over the sweep."""


def main_effects(design: Factorial, rows: Sequence[Row]) -> list[Effect]:
    """Every normalizer at every level of every factor, in the order of the design."""
    factors: dict[str, tuple[Any, ...]] = dict(design.factors) or {ALL: (ALL,)}
    found = []
    for factor, levels in factors.items():
        for level in levels:
            at_level = [row for row in rows if row.levels.get(factor, ALL) == level]
            for normalizer in dict.fromkeys(row.normalizer for row in at_level):
                own = [row for row in at_level if row.normalizer == normalizer]
                learned = {
                    rate: Count.of([row.all_right > design.learned for row in own if row.learning_rate == rate])
                    for rate in design.learning_rates
                }
                means = _mean_by(own, lambda row: (str(row.levels), row.seed), lambda row: row.all_right)
                found.append(Effect(factor, level, normalizer, learned, mean_of(means)))
    return found


def front_results(design: Factorial, rows: Sequence[Row]) -> list[FrontResult]:
    """Hypervolume and distance of every normalizer and learning rate, for each combination of the other factors."""
    found = []
    for levels, front, specs in fronts(design):
        own = [row for row in rows if _apart(row.levels) == levels]
        for normalizer, rate in itertools.product(dict.fromkeys(row.normalizer for row in own), design.learning_rates):
            volumes, distances = [], []
            for seed in range(design.first_seed, design.first_seed + design.seeds):
                chosen = [
                    row for row in own if (row.normalizer, row.learning_rate, row.seed) == (normalizer, rate, seed)
                ]
                points = share_of_range(means_of(chosen, specs), specs)
                volumes.append(hypervolume(points) / front_hypervolume(front))
                distances.append(float(distance_to_front(points, front).mean()))
            found.append(FrontResult(levels, normalizer, rate, mean_of(volumes), mean_of(distances)))
    return found


def fronts(design: Factorial) -> list[tuple[dict[str, Any], Floats, tuple[RewardSpec, ...]]]:
    """(levels without the weight, the front's corners as shares of ranges, declarations) of each combination."""
    apart = {str(_apart(cell.levels)): cell for cell in cells(design)}
    found: list[tuple[dict[str, Any], Floats, tuple[RewardSpec, ...]]] = []
    for cell in apart.values():
        world = make_world(cell.world.name, cell.world.options)
        front = pareto_front(share_of_range(world.rewards, world.specs))
        found.append((_apart(cell.levels), front, world.specs))
    return found


def means_of(rows: Sequence[Row], specs: Sequence[RewardSpec]) -> Floats:
    """Mean rewards (N, K) of N runs."""
    return np.array([[row.mean[spec.name] for spec in specs] for row in rows])


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of independent values in [0, 1]; of one value, between 0 and 1."""
    interval = mean_interval(values, (0.0, 1.0)) or Interval(0.0, 1.0)
    return Mean(float(np.mean(values)), interval.low, interval.high)


def _apart(levels: dict[str, Any]) -> dict[str, Any]:
    return {factor: level for factor, level in levels.items() if factor != WEIGHT}


def _mean_by(rows: Iterable[Row], unit: Callable[[Row], Any], value: Callable[[Row], float]) -> list[float]:
    """The values' mean in each unit."""
    units: dict[Any, list[float]] = {}
    for row in rows:
        units.setdefault(unit(row), []).append(value(row))
    return [float(np.mean(values)) for values in units.values()]
