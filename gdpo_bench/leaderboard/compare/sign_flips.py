"""Exact tests of paired differences by flipping their signs, alone and as a family.

If two normalizers are equal, each unit's difference could as well have come out with the other sign. The p-value is
the share of all patterns of signs whose sum lies as far from 0 as the one that was seen; of differences in {-1, 0, 1}
it is McNemar's exact test. n units reach no p below 2 / 2^n, so five reach .0625 and can show nothing.

A family is corrected by the step-down maxT of Westfall and Young (1993): all differences of a unit are flipped
together, and each is held against the largest of those that are not yet rejected. What is correlated, as differences
to the same baseline are, then costs little. Holm's correction of a table of fifteen rows and two rewards could reject
nothing at ten units, whatever the data.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.leaderboard.compare.units import Floats

LEAST_UNITS = 1 + math.ceil(-math.log2(1 - CONFIDENCE))
"""Fewest units with which a sign flip can reach p ≤ .05."""
ALL_PATTERNS = 14
"""Up to so many units all patterns are tried; beyond, a sample of them."""
SAMPLED = 9_999
_TIE = 1e-9
"""Relative slack within which two statistics count as equal."""

_BLOCK = 2**20
"""Signs that are multiplied at once."""
Differences = Mapping[Hashable, float]
"""Unit → difference."""


@lru_cache(maxsize=8)
def sign_patterns(n: int) -> NDArray[np.int8]:
    """Patterns (B, n) of signs, the first all +1.

    The first sign is always +, as the opposite pattern has the same absolute sum. Beyond `ALL_PATTERNS` units the
    pattern that was seen and `SAMPLED` drawn ones, by which a test stays exact.
    """
    if n <= ALL_PATTERNS:
        count = 2 ** max(n - 1, 0)
        bits = (np.arange(count)[:, None] >> np.arange(n)) & 1
        return (1 - 2 * np.roll(bits, 1, axis=1)).astype(np.int8)
    rng, patterns = np.random.default_rng(n), np.ones((1 + SAMPLED, n), np.int8)
    for block in _blocks(patterns[1:]):
        block[:] = rng.integers(2, size=block.shape) * 2 - 1
    return patterns


def _blocks(patterns: NDArray[np.int8]) -> list[NDArray[np.int8]]:
    """Views of some rows each: patterns of many units as floats take eight times their memory."""
    return np.array_split(patterns, math.ceil(patterns.size / _BLOCK))


def _sums(values: Floats) -> Floats:
    """(B, …) absolute sums of values (n, …) under each pattern."""
    parts: list[Floats] = [block.astype(np.float64) @ values for block in _blocks(sign_patterns(len(values)))]
    return np.abs(np.concatenate(parts))


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of no difference; `None` for one unit, which says nothing."""
    if len(differences) < 2:
        return None
    values = np.array(differences)
    sums = _sums(values)
    return float((sums >= sums[0] - _TIE * np.abs(values).sum()).mean())


def corrected(family: Sequence[Differences | None]) -> list[float | None]:
    """p-values that hold together: rejecting those at most α errs in any of them with probability at most α.

    What has too few units to be rejected whatever comes out is no part of the family, and keeps its own p-value.

    Args:
        family: Everything that might be rejected; `None` for what was not compared.

    Returns:
        p-values in the same order, none below that of the difference alone; `None` where there is none.
    """
    alone = [sign_flip_p(list(one.values())) if one else None for one in family]
    members = [i for i, one in enumerate(family) if one and len(one) >= LEAST_UNITS and any(one.values())]
    if not members:
        return alone
    # As a share of what it could be at most: then rows with more units do not count for more.
    statistics = _statistics([family[i] for i in members])
    order = np.argsort(-statistics[0], kind="stable")
    largest = np.maximum.accumulate(statistics[:, order[::-1]], axis=1)[:, ::-1]
    p_values = (largest >= statistics[0, order] - _TIE).mean(axis=0)
    found = list(alone)
    for position, p in zip(order, np.maximum.accumulate(p_values), strict=True):
        i = members[position]
        found[i] = max(float(p), alone[i] or 0.0)
    return found


def _statistics(members: Sequence[Differences | None]) -> Floats:
    """(B, M) absolute sums under each pattern, each divided by the largest that its size and spread allow."""
    known = [one for one in members if one]
    place = {unit: i for i, unit in enumerate(dict.fromkeys(unit for one in known for unit in one))}
    values = np.zeros((len(place), len(known)))
    for column, one in enumerate(known):
        for unit, difference in one.items():
            values[place[unit], column] = difference
    counts = np.array([len(one) for one in known])
    result: Floats = _sums(values) / np.sqrt(counts * (values**2).sum(axis=0))
    return result
