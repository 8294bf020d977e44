"""What a chart shows of one entry, as numbers: drawn by matplotlib in `plots`, and as SVG in `page.charts`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdpo_bench.leaderboard.compare.learning import curve_of
from gdpo_bench.leaderboard.compare.pooled import THRESHOLDS, PooledRow
from gdpo_bench.leaderboard.compare.units import Floats
from gdpo_bench.leaderboard.files.schema import Entry

RUNS_DRAWN = 5
"""With more runs than these, their band alone is drawn: more lines hide each other."""


@dataclass(frozen=True)
class Series:
    """A line with its band, over T places."""

    across: Floats
    """(T,) steps or thresholds."""
    line: Floats
    """(T,)"""
    band: tuple[Floats, Floats] | None
    """Lower and upper border, (T,) each."""
    runs: Floats
    """(R, T) single runs that are drawn as well."""


def learning_curve(entry: Entry, name: str) -> Series:
    """Mean over runs, and the band from the lowest to the highest, at the steps that all runs share.

    Args:
        entry: The entry.
        name: Of a reward, or of another quantity that all of its runs have a curve of.
    """
    curves = [(result.steps, curve) for result in entry.results if (curve := curve_of(result, name)) is not None]
    steps = sorted(set.intersection(*(set(own) for own, _ in curves)))
    found = []
    for own, curve in curves:
        at = dict(zip(own, curve.curve, strict=True))
        found.append([at[step] for step in steps])
    runs = np.array(found)
    band = (runs.min(axis=0), runs.max(axis=0)) if len(runs) > 1 else None
    drawn = runs if 1 < len(runs) <= RUNS_DRAWN else runs[:0]
    return Series(np.array(steps, dtype=float), runs.mean(axis=0), band, drawn)


def performance_profile(row: PooledRow) -> Series:
    """The share of scores above each threshold, with the interval at each by itself."""
    share, half = row.profile.share, row.profile.half_width
    band = None if half is None else ((share - half).clip(min=0), (share + half).clip(max=1))
    return Series(THRESHOLDS, share, band, np.empty((0, len(share))))
