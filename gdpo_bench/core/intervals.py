"""Intervals of a mean, of a probability, and of the difference of two probabilities over the same units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

CONFIDENCE = 0.95
Bounds = tuple[float, float]
"""Least and largest possible value of a quantity."""
UNBOUNDED: Bounds = (-math.inf, math.inf)


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        """Whether a value lies within."""
        return self.low <= value <= self.high


def mean_interval(
    values: Sequence[float], bounds: Bounds = UNBOUNDED, confidence: float = CONFIDENCE
) -> Interval | None:
    """Student's interval of the mean of independent values, cut to what the mean can be.

    Args:
        values: (n,)
        bounds: Least and largest possible value.
        confidence: Coverage in (0, 1).

    Returns:
        The interval, without width where all values agree; `None` for one value.
    """
    n = len(values)
    if n < 2:
        return None
    mean = float(np.mean(values))
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2) * np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(max(bounds[0], mean - half), min(bounds[1], mean + half))


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Exact interval of a probability of which k of n independent trials succeeded: it covers at least as claimed.

    Args:
        k: Successes, in [0, n].
        n: Trials, at least 1.
        confidence: Coverage in (0, 1).
    """
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 1 - tail))
    return Interval(low, high)


def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a probability of which k of n independent trials succeeded (Wilson, 1927)."""
    z, p = float(special.ndtri((1 + confidence) / 2)), k / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def newcombe(both: int, first: int, second: int, neither: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of the difference of two probabilities over the same units, first minus second.

    Method 10 of Newcombe, Statistics in Medicine 17 (1998), 2635-2650: Wilson's intervals of both, put together with
    the correlation of the pairs, which is corrected for continuity.

    Args:
        both: Units in which both succeeded.
        first: Units in which only the first did.
        second: Units in which only the second did.
        neither: Units in which none did; together at least 1.
        confidence: Coverage in (0, 1).
    """
    n = both + first + second + neither
    k1, k2 = both + first, both + second
    p1, p2 = k1 / n, k2 / n
    one, other = wilson(k1, n, confidence), wilson(k2, n, confidence)
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    spread = math.sqrt(k1 * (n - k1) * k2 * (n - k2))
    phi = excess / spread if spread else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    difference = p1 - p2
    return Interval(
        max(-1.0, difference - reach(p1 - one.low, other.high - p2)),
        min(1.0, difference + reach(one.high - p1, p2 - other.low)),
    )
