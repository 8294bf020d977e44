"""The independent units of a result: warm starts, or RL seeds where there is one warm start or none.

Runs that began from the same warm start share its luck, so with several warm starts their RL seeds are averaged first
and the warm starts are counted: an interval over all runs pooled covers the truth far less often than it claims. With
one warm start only its RL seeds can be counted; then nothing is said of other warm starts, and `Unit` says so. A
pretrained policy has no warm start: each RL seed is a unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.leaderboard.files.schema import Seed

ROUNDING = 1e-12
"""Relative size below which a difference of two floats is their rounding."""

Floats = NDArray[np.float64]
Layout = tuple[int, ...]
"""Number of runs in each unit, all at least 1."""
Unit = Literal["warm start", "RL seed", "single evaluation"]
"""What was counted. `single evaluation`: nothing was random."""


def clusters_of(seeds: Sequence[Seed | None]) -> tuple[list[list[Seed | None]], Unit]:
    """The units among runs, each with its runs, in the order of their first; and what they are."""
    warm_starts: defaultdict[int | None, list[Seed | None]] = defaultdict(list)
    for seed in seeds:
        warm_starts[seed.warm_start if seed else None].append(seed)
    if len(warm_starts) > 1:
        return list(warm_starts.values()), "warm start"
    return [[seed] for seed in seeds], "single evaluation" if set(seeds) == {None} else "RL seed"


def unit_means(values: Mapping[Seed | None, float]) -> tuple[dict[Hashable, float], Unit]:
    """Unit → mean of its runs, and what a unit is.

    A warm start is named by its seed, an RL seed by both seeds, so that units of several rows can be matched.
    """
    clusters, unit = clusters_of(list(values))
    means: dict[Hashable, float] = {}
    for cluster in clusters:
        first = cluster[0]
        name: Hashable = first.warm_start if unit == "warm start" and first else _key(first)
        means[name] = float(np.mean([values[seed] for seed in cluster]))
    return means, unit


def _key(seed: Seed | None) -> Hashable:
    return None if seed is None else (seed.warm_start, seed.rl)
