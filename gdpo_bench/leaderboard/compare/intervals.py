"""Intervals and p-values for means of nested data: runs within independent clusters.

Runs of one cluster share its luck, so only clusters count. Below `BOOTSTRAP_FROM` of them the
interval is Student's on the cluster means. From there on it is a symmetric studentized bootstrap:
clusters are drawn with replacement, then runs within each, and the quantile of |t*| takes the
place of Student's. Plain percentiles of the drawn means would cover less than they claim with ten
clusters, and more where runs differ more than clusters do, since drawing runs again counts their
spread twice; dividing each drawn mean by its own standard error mends both.

Draws are seeded by nothing but the numbers of clusters and runs: the same data give the same
interval everywhere, and quantities of the same runs are drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

BOOTSTRAP_FROM = 10
"""Number of clusters from which the bootstrap takes over from Student's t."""
RESAMPLES = 4999
"""Draws of a bootstrap. One more is divisible by 20, so that interval and p-value agree at 95 %."""
ROUNDING = 1e-12
"""Relative size below which a difference of two floats is their rounding."""

Floats = NDArray[np.float64]
Layout = tuple[int, ...]
"""Number of runs in each cluster, all at least 1."""


@dataclass(frozen=True)
class Draws:
    """B bootstrap samples of C clusters, and of runs within each of them."""

    clusters: NDArray[np.intp]
    """(C, B) clusters that were drawn."""
    sizes: Floats
    """(C, B) numbers of runs in them."""
    runs: NDArray[np.intp]
    """(M, C, B) runs that were drawn, numbered through all clusters. M is the largest cluster's; where the
    drawn one has fewer, the rest is the number of all runs."""

    def cluster_means(self, values: Floats) -> Floats:
        """Means (C, B) of the drawn runs' values; `values` is (runs,)."""
        padded = np.append(values, 0.0)
        sums: Floats = np.take(padded, self.runs[0])
        for more in self.runs[1:]:
            sums += np.take(padded, more)
        sums /= self.sizes
        return sums


@lru_cache(maxsize=16)
def resample(layout: Layout, resamples: int = RESAMPLES) -> Draws:
    """Draw as many clusters as there are, with replacement, then as many runs of each as it has.

    Args:
        layout: Number of runs in each cluster.
        resamples: How often.
    """
    rng = np.random.default_rng(0)
    sizes = np.array(layout)
    clusters = rng.integers(len(layout), size=(len(layout), resamples))
    size, first = sizes[clusters], (np.cumsum(sizes) - sizes)[clusters]
    place = np.arange(sizes.max())[:, None, None]
    runs = first + (rng.random((len(place), *clusters.shape)) * size).astype(np.intp)
    return Draws(clusters, size.astype(np.float64), np.where(place < size, runs, sizes.sum()))


def cluster_means(values: Floats, layout: Layout) -> Floats:
    """Means (clusters,) of values (runs,) that lie cluster after cluster."""
    sizes = np.array(layout)
    means: Floats = np.add.reduceat(values, np.cumsum(sizes) - sizes) / sizes
    return means


def mean_interval(
    values: Floats, layout: Layout, confidence: float, resamples: int = RESAMPLES
) -> tuple[float | None, float | None]:
    """Interval of the mean of cluster means, and how compatible it is with 0.

    Args:
        values: (runs,) values, cluster after cluster.
        layout: Number of runs in each cluster.
        confidence: Coverage of the interval, in (0, 1).
        resamples: Draws of the bootstrap.

    Returns:
        Half of the interval's width, and the two-sided p-value of the mean being 0. Both `None` with
        one cluster. Where all cluster means agree, 0 and either 0 or, if they are 0, 1.
    """
    n = len(layout)
    if n < 2:
        return None, None
    means = cluster_means(values, layout)
    mean, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(n)
    negligible = ROUNDING * float(np.abs(values).max())
    if error <= negligible:
        return 0.0, float(abs(mean) <= negligible)
    if n >= BOOTSTRAP_FROM:
        drawn = resample(layout, resamples).cluster_means(values) - mean
        deviations = drawn.mean(axis=0)
        drawn -= deviations
        errors = np.sqrt(np.einsum("cb,cb->b", drawn, drawn) / (n * (n - 1)))
        # A draw without spread says nothing of the error: it counts as far off, never as near.
        spread = errors > negligible
        distances = np.full(resamples, np.inf)
        np.divide(np.abs(deviations), errors, out=distances, where=spread)
        rank = math.ceil((resamples + 1) * confidence) - 1
        quantile = float(np.partition(distances, rank)[rank])
        if math.isfinite(quantile):
            beyond = int((distances >= abs(mean) / error).sum())
            return quantile * error, (1 + beyond) / (resamples + 1)
        # So many clusters agree that most draws have no spread: no distribution to learn of.
    half_width = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * error
    return half_width, float(2 * special.stdtr(n - 1, -abs(mean) / error))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values: rejecting those at most α errs in any of them with probability at most α.

    Args:
        p_values: Of the hypotheses of one family; `None` stays `None` and does not count.

    Returns:
        The adjusted values, in the same order, each in [p, 1].
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted
