"""How sure a result is: means or counts of units, paired differences over shared seeds, and what may be said of them.

What a unit is stands in `units`, how differences are tested in `sign_flips`, how well all of it holds in
`docs/statistics.md`.

Two runs with the same seed share their tasks and where they began. Differences within such pairs vary much less than
the runs do, which is why comparisons are paired.

Some outcomes are learned or lost, with little between. No interval of their mean is honest: as long as none of a few
runs has failed, nothing in the data tells how often one will. So where no unit lies in the middle third of a quantity's
range and some lie in each outer third, k of n is reported: the units in the upper third. Of a difference the units of
both sides are looked at together. That depends on what came out, but not on which side it came out, so that a test that
flips sides stays exact.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdpo_bench.core.intervals import CONFIDENCE, UNBOUNDED, Bounds, Interval, clopper_pearson, mean_interval, newcombe
from gdpo_bench.leaderboard.compare.sign_flips import sign_flip_p
from gdpo_bench.leaderboard.compare.units import ROUNDING, Unit, unit_means
from gdpo_bench.leaderboard.files.schema import Entry, Seed

Verdict = Literal["better", "worse", "equal", "undecided"]
"""What a paired difference supports. `equal`: 0 in every unit. `undecided`: could be either."""
Relation = Literal["dominates", "is dominated", "trade-off", "equal", "undecided"]
"""What the paired differences in all rewards support, of the first against the second."""


@dataclass(frozen=True)
class Count:
    """k of n units reached the upper third of a quantity's range."""

    k: int
    """Of a difference: how many more in the first than in the second, perhaps below 0."""
    n: int
    interval: Interval
    """Of the probability (Clopper and Pearson); of a difference, of that of the probabilities (Newcombe)."""


@dataclass(frozen=True)
class Estimate:
    """What n independent units say of a quantity: a mean with its interval, or a count with its."""

    mean: float
    interval: Interval | None
    """Of the mean; `None` with one unit, and where there is a count instead."""
    count: Count | None
    """Where units reach the upper third or stay in the lower one; else `None`."""
    units: tuple[float, ...]
    """Mean of each unit's runs."""
    unit: Unit
    runs: int
    """Number of runs in all units."""

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def shown_interval(self) -> Interval | None:
        """The count's where there is one, else the mean's."""
        return self.count.interval if self.count else self.interval

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.shown_interval is not None and 0 not in self.shown_interval


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """First minus second over the seeds that both ran; `units` are differences."""

    tested: Mapping[Hashable, float]
    """Unit → its difference, whose sign is flipped; where there is a count, 1, -1 or 0 for who alone reached it."""
    p: float | None
    """Two-sided p-value of no difference, of this quantity alone; `None` with one unit."""

    @property
    def wins(self) -> int:
        """Units in which the first is higher."""
        return sum(value > 0 for value in self.tested.values())

    @property
    def losses(self) -> int:
        """Units in which the first is lower."""
        return sum(value < 0 for value in self.tested.values())


def succeed_or_fail(units: Iterable[float], bounds: Bounds) -> bool:
    """Whether no unit lies in the middle third of the range and some lie in each outer third."""
    low, high = bounds
    shares = [(value - low) / (high - low) for value in units] if np.isfinite(high - low) else []
    lower, upper = (sum(found) for found in ([x <= 1 / 3 for x in shares], [x >= 2 / 3 for x in shares]))
    return lower > 0 and upper > 0 and lower + upper == len(shares)


def estimate(
    values: Mapping[Seed | None, float], bounds: Bounds = UNBOUNDED, confidence: float = CONFIDENCE
) -> Estimate:
    """What a quantity's values say.

    Args:
        values: Seed → value, at least one.
        bounds: Least and largest possible value; without them nothing is counted and no interval is cut.
        confidence: Coverage of the interval, in (0, 1).
    """
    named, unit = unit_means(values)
    units = tuple(named.values())
    count = None
    if succeed_or_fail(units, bounds):
        k = sum(_reached(value, bounds) for value in units)
        count = Count(k, len(units), clopper_pearson(k, len(units), confidence))
    interval = None if count else mean_interval(units, bounds, confidence)
    return Estimate(float(np.mean(units)), interval, count, units, unit, len(values))


def mean(values: Mapping[Seed | None, float]) -> float:
    """Mean over units of at least one value."""
    return float(np.mean(list(unit_means(values)[0].values())))


def paired_difference(
    first: Mapping[Seed | None, float],
    second: Mapping[Seed | None, float],
    bounds: Bounds = UNBOUNDED,
    confidence: float = CONFIDENCE,
) -> PairedDifference | None:
    """Compare two sets of results over the seeds that they share.

    Args:
        first: Seed → value.
        second: Seed → value of what it is compared with.
        bounds: Least and largest possible value of the quantity, not of its difference.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The difference, or `None` if no seed is shared.
    """
    shared = [seed for seed in first if seed in second]
    if not shared:
        return None
    (one, unit), (other, _) = (unit_means({seed: values[seed] for seed in shared}) for values in (first, second))
    scale = max(max(abs(first[seed]), abs(second[seed])) for seed in shared)
    exact = {name: one[name] - other[name] for name in one}
    differences = {name: 0.0 if abs(d) <= ROUNDING * scale else d for name, d in exact.items()}
    units = tuple(differences.values())
    count, interval, tested = None, None, differences
    if len(units) > 1 and succeed_or_fail([*one.values(), *other.values()], bounds):
        pairs = {name: (_reached(one[name], bounds), _reached(other[name], bounds)) for name in one}
        tested = {name: float(mine) - float(theirs) for name, (mine, theirs) in pairs.items()}
        both, mine, theirs, neither = (
            list(pairs.values()).count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))
        )
        count = Count(mine - theirs, len(units), newcombe(both, mine, theirs, neither, confidence))
    else:
        interval = mean_interval(units, (bounds[0] - bounds[1], bounds[1] - bounds[0]), confidence)
    return PairedDifference(
        mean=float(np.mean(units)),
        interval=interval,
        count=count,
        units=units,
        unit=unit,
        runs=len(shared),
        tested=tested,
        p=sign_flip_p(list(tested.values())),
    )


def judge(difference: PairedDifference | None, corrected_p: float | None) -> Verdict:
    """What may be said of a difference.

    Args:
        difference: The difference, or `None` if there are no shared seeds.
        corrected_p: Its p-value after correction over all that is compared with it.
    """
    if difference is None or corrected_p is None:
        return "undecided"
    if not any(difference.units):
        return "equal"
    if corrected_p > 1 - CONFIDENCE + ROUNDING:
        return "undecided"
    return "better" if sum(difference.tested.values()) > 0 else "worse"


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


def _reached(value: float, bounds: Bounds) -> bool:
    """Whether a value lies in the upper third of the range."""
    low, high = bounds
    return (value - low) / (high - low) >= 2 / 3
