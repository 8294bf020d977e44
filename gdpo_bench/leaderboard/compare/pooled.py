"""All environments of a track seen together: interquartile means and performance profiles.

A reward's final value is put on [0, 1] by its declared range. Environments count equally, the
rewards of one share its part equally, and so do its clusters. The interquartile mean (IQM) is the
mean of the middle half of these scores: a lucky or a broken run moves it less than it moves the
mean, and it wastes less than the median. A performance profile is the share of scores above each
threshold. Both are ideas of arXiv 2108.13264 (`rliable`), and so is the stratified bootstrap. We
depart from it in three points:

1. What is drawn are whole clusters, all rewards of a run together. Where the environments share
   several warm starts, these are drawn for all environments at once.
2. One cluster fewer is drawn than there are, which makes the spread of the draws right for few
   clusters, and intervals are as wide as Student's t says for their number. Percentiles of a draw
   of three clusters cannot be far enough out.
3. The probability of improvement is that of a run against the run with the same seed.

Rows are sorted by name. This is no ranking: a pooled number hides on which reward one is better.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard.compare.alike import group_alike, like
from gdpo_bench.leaderboard.compare.board import (
    BASELINE,
    NOTHING_TRAINED,
    changed_weights,
    distinguish,
    training_details,
)
from gdpo_bench.leaderboard.compare.extensions import with_extensions
from gdpo_bench.leaderboard.compare.statistics import finals
from gdpo_bench.leaderboard.compare.tuning import tested
from gdpo_bench.leaderboard.compare.units import ROUNDING, Floats, Layout, Unit, clusters_of
from gdpo_bench.leaderboard.files.schema import Entry, Seed, Track

THRESHOLDS: Floats = np.linspace(0, 1, 101)
"""Normalized scores at which profiles are evaluated."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Sample:
    """Scores of one or more configurations on the same runs: V of them, E scores each, of R runs in S strata."""

    scores: Floats
    """(V, E) values in [0, 1]."""
    run: NDArray[np.intp]
    """(E,) run of each score, numbered through all strata."""
    part: Floats
    """(E,) what a score counts beside its run: its reward's part in the whole."""
    strata: tuple[Layout, ...]
    """Runs in each cluster of each stratum; a stratum is an environment."""
    joint: bool
    """Whether the strata have the same clusters, which are then drawn for all of them at once."""

    @property
    def weights(self) -> Floats:
        """(E,) weights of the scores."""
        runs = np.concatenate([np.repeat(1 / np.array(layout), layout) / len(layout) for layout in self.strata])
        weights: Floats = runs[self.run] * self.part
        return weights

    @property
    def degrees(self) -> int:
        """Degrees of freedom of a spread between clusters; 0 where some stratum has a single one."""
        counts = [len(layout) - 1 for layout in self.strata]
        return 0 if min(counts) == 0 else counts[0] if self.joint else sum(counts)

    def drawn_weights(self, resamples: int = RESAMPLES) -> Floats:
        """(resamples, E) weights of the scores in bootstrap samples. Needs two clusters in each stratum."""
        strata = []
        for i, layout in enumerate(self.strata):
            n = len(layout)
            drawn = np.random.default_rng(0 if self.joint else i).multinomial(n - 1, np.full(n, 1 / n), size=resamples)
            strata.append(np.repeat(drawn / (n - 1) / np.array(layout), layout, axis=1))
        weights: Floats = np.hstack(strata)[:, self.run] * self.part
        return weights


@dataclass(frozen=True)
class Pooled:
    """A pooled quantity."""

    value: float
    half_width: float | None
    """Of the interval; `None` where an environment has a single cluster."""


@dataclass(frozen=True)
class Profile:
    """Share of scores above each of `THRESHOLDS`."""

    share: Floats
    half_width: Floats | None
    """Of the interval at each threshold by itself."""


@dataclass(frozen=True)
class PooledRow:
    """One configuration of a normalizer over all environments."""

    label: str
    entry: Entry
    """Any of its entries: what they share can be read from it."""
    iqm: Pooled
    difference: Pooled | None
    """IQM minus the baseline's, over the runs that both have; `None` in the baseline's row or without one."""
    improvement: Pooled | None
    """Probability that a run's score is above that of the baseline's run with the same seed; ties count half."""
    profile: Profile
    clusters: int
    """Fewest independent units in an environment."""
    unit: Unit
    runs: int
    """In all environments."""


@dataclass(frozen=True)
class PooledView:
    """Environments in which the same policy was trained in the same way."""

    heading: str
    environments: tuple[str, ...]
    rewards: int
    """How many rewards they have together."""
    rows: tuple[PooledRow, ...]
    """Sorted by label."""
    baseline: str | None
    """Label of the row that the others are compared with."""
    left_out: tuple[str, ...]
    """Labels of configurations that were not run in all of the environments."""


def pool(entries: Sequence[Entry], track: Track = "training", baseline: str = BASELINE) -> list[PooledView]:
    """Pool what was trained alike: the same policy, the same training, at least two environments.

    Args:
        entries: Entries in any order.
        track: Track to pool.
        baseline: Name of the normalizer that the others are compared with.

    Returns:
        One view for each way of training, in a fixed order.

    Raises:
        DataError: Nothing was trained in two environments alike, or the track trains nothing.
    """
    if track == "advantage":
        raise DataError(NOTHING_TRAINED)
    measured = tested(with_extensions([entry for entry in entries if entry.track == track]))
    alike = group_alike(measured, _training)
    groups = [group for group in alike if len({entry.environment.id for entry in group}) > 1]
    if not groups:
        found = sorted({entry.environment.id for group in alike for entry in group})
        raise DataError(
            "A pooled view needs at least two environments in which the same policy was trained in the same way; "
            f"got entries of {', '.join(found) or 'none'}."
        )
    headings = distinguish([group[0].policy.name for group in groups], [training_details(group[0]) for group in groups])
    views = [_view(heading, group, baseline) for heading, group in zip(headings, groups, strict=True)]
    if not any(view.rows for view in views):
        raise DataError("No configuration of a normalizer was run once in each of the environments to be pooled.")
    return [view for view in views if view.rows]


def make_sample(rivals: Sequence[Sequence[Entry]]) -> Sample | None:
    """Gather the scores of configurations on the runs that all of them have.

    Args:
        rivals: For each setting one entry of each configuration, all on the same rewards.

    Returns:
        The scores; `None` if in some setting no run is shared, or no reward applies to one.
    """
    environments = Counter(entries[0].environment.id for entries in rivals)
    shared = [_shared_clusters(entries) for entries in rivals]
    keys = [[cluster[0].warm_start if cluster[0] else None for cluster in clusters] for clusters, _ in shared]
    joint = all(unit == "warm start" for _, unit in shared) and all(key == keys[0] for key in keys)
    scores: list[list[float]] = []
    run: list[int] = []
    part: list[float] = []
    first = 0
    for entries, (clusters, _) in zip(rivals, shared, strict=True):
        seeds = [seed for cluster in clusters for seed in cluster]
        rewards = entries[0].environment.rewards
        for reward in rewards:
            values = [finals(entry, reward.name) for entry in entries]
            for i, seed in enumerate(seeds):
                if all(seed in own for own in values):
                    scores.append([(own[seed] - reward.low) / (reward.high - reward.low) for own in values])
                    run.append(first + i)
                    part.append(1 / (len(environments) * environments[entries[0].environment.id] * len(rewards)))
        if not run or run[-1] < first:
            return None
        first += len(seeds)
    return Sample(
        scores=np.array(scores).T,
        run=np.array(run),
        part=np.array(part),
        strata=tuple(tuple(map(len, clusters)) for clusters, _ in shared),
        joint=joint,
    )


def interquartile_mean(scores: Floats, weights: Floats) -> Floats:
    """Mean of the middle half of weighted scores; a score on the edge of that half counts in part.

    Args:
        scores: (E,).
        weights: (..., E), not negative, not all 0.

    Returns:
        (...,). With equal weights and E divisible by 4, `scipy.stats.trim_mean(scores, 0.25)`.
    """
    order = np.argsort(scores, kind="stable")
    ordered = weights[..., order] / weights.sum(axis=-1, keepdims=True)
    upper = np.cumsum(ordered, axis=-1)
    inside = np.clip(upper, 0.25, 0.75) - np.clip(upper - ordered, 0.25, 0.75)
    result: Floats = inside @ scores[order] / inside.sum(axis=-1)
    return result


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Means (...,) or (..., T) of values (E,) or (E, T) with weights (..., E)."""
    result: Floats = (weights / weights.sum(axis=-1, keepdims=True)) @ values
    return result


def with_spread(
    sample: Sample, statistic: Callable[[Floats], Floats], resamples: int = RESAMPLES
) -> tuple[Floats, Floats | None]:
    """A statistic of weighted scores, and half of the width of its interval.

    Args:
        sample: What to draw from.
        statistic: From weights (..., E) to (...,) or (..., T).
        resamples: Draws of the bootstrap.

    Returns:
        Value and half width, both () or (T,); the latter `None` where a stratum has a single cluster.
    """
    value = statistic(sample.weights)
    if sample.degrees == 0:
        return value, None
    spread = statistic(sample.drawn_weights(resamples)).std(axis=0, ddof=1)
    half_width: Floats = special.stdtrit(sample.degrees, (1 + CONFIDENCE) / 2) * spread
    return value, half_width


def _pooled(sample: Sample, statistic: Callable[[Floats], Floats]) -> Pooled:
    value, half_width = with_spread(sample, statistic)
    return Pooled(float(value), None if half_width is None else float(half_width))


def _view(heading: str, entries: Sequence[Entry], baseline: str) -> PooledView:
    settings = sorted({canonical_json(like(entry)) for entry in entries})
    configurations = sorted({_configuration(entry) for entry in entries})
    of: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        of[_configuration(entry), canonical_json(like(entry))].append(entry)
    details = [json.loads(configuration) for configuration in configurations]
    labels = dict(zip(configurations, distinguish([detail.pop("name") for detail in details], details), strict=True))
    # Twice in one setting: the same run with other numbers. Which of them goes with which elsewhere, nobody knows.
    everywhere = {
        labels[c]: [of[c, s][0] for s in settings] for c in configurations if all(len(of[c, s]) == 1 for s in settings)
    }
    reference = min((name for name, own in everywhere.items() if own[0].normalizer.name == baseline), default=None)
    against = everywhere[reference] if reference else None
    rows = {name: _row(name, own, against if name != reference else None) for name, own in sorted(everywhere.items())}
    return PooledView(
        heading=heading,
        environments=tuple(sorted({entry.environment.id for entry in entries})),
        rewards=sum(len(json.loads(s)["environment"]["rewards"]) for s in settings),
        rows=tuple(row for row in rows.values() if row),
        baseline=reference,
        left_out=tuple(sorted(label for label in labels.values() if not rows.get(label))),
    )


def _row(label: str, entries: Sequence[Entry], against: Sequence[Entry] | None) -> PooledRow | None:
    sample = make_sample([(entry,) for entry in entries])
    if sample is None:
        return None
    scores = sample.scores[0]
    above = (scores[:, None] > THRESHOLDS + ROUNDING).astype(np.float64)
    difference = improvement = None
    both = make_sample(list(zip(entries, against, strict=True))) if against else None
    if both is not None:
        own, theirs = both.scores
        wins = np.where(np.isclose(own, theirs, rtol=0, atol=ROUNDING), 0.5, own > theirs)
        difference = _pooled(both, lambda w: interquartile_mean(own, w) - interquartile_mean(theirs, w))
        improvement = _pooled(both, lambda w: weighted_mean(wins, w))
    return PooledRow(
        label=label,
        entry=entries[0],
        iqm=_pooled(sample, lambda w: interquartile_mean(scores, w)),
        difference=difference,
        improvement=improvement,
        profile=Profile(*with_spread(sample, lambda w: weighted_mean(above, w))),
        clusters=min(map(len, sample.strata)),
        unit=_shared_clusters(entries[:1])[1],
        runs=sum(map(sum, sample.strata)),
    )


def _configuration(entry: Entry) -> str:
    """What a normalizer is beside its environment: its name, options, and weights other than the declared ones."""
    return canonical_json(
        {"name": entry.normalizer.name, **entry.normalizer.live_options, "weights": changed_weights(entry)}
    )


def _shared_clusters(entries: Sequence[Entry]) -> tuple[list[list[Seed | None]], Unit]:
    """The clusters of the runs that all of the entries have."""
    return clusters_of([r.seed for r in entries[0].results if all(r.seed in _seeds(entry) for entry in entries)])


def _seeds(entry: Entry) -> set[Seed | None]:
    return {result.seed for result in entry.results}


def _training(entry: Entry) -> dict[str, Any]:
    """What entries must share beside their environments to be pooled."""
    return {key: value for key, value in like(entry).items() if key in ("policy", "training")}
