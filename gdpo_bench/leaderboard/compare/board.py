"""Which entries may be compared, what each is called, and the numbers that a table shows of them.

Entries are compared when nothing but the normalizer differs: same environment with the same
options, rewards and tasks, same policy, same training. Everything else is another table.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any, Literal, get_args

from gdpo_bench.core.intervals import Bounds
from gdpo_bench.core.rewards import SHORTFALL_METRICS, Metric
from gdpo_bench.leaderboard.compare.alike import group_alike, like
from gdpo_bench.leaderboard.compare.extensions import extensions, joined
from gdpo_bench.leaderboard.compare.sign_flips import LEAST_UNITS, corrected
from gdpo_bench.leaderboard.compare.statistics import (
    Estimate,
    PairedDifference,
    Relation,
    Verdict,
    estimate,
    finals,
    judge,
    mean,
    paired_difference,
    pareto,
)
from gdpo_bench.leaderboard.compare.tuning import TunedSetting, at_horizons, tested, tuned_settings
from gdpo_bench.leaderboard.compare.units import ROUNDING, unit_means
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry, RewardDeclaration, Seed

_HASH = re.compile(r"(sha256:)?[0-9a-f]{12,}")
_OWN_IN_A_PLAN = ("options", "tested")
"""What plans that tune alike may say differently: options of their normalizers, and whether all trials were tested."""
BASELINE = "grpo"
"""Normalizer that the others are compared with."""
NOTHING_TRAINED = (
    "Nothing was trained on the advantage track: rewards are those of the given replies, whatever the normalizer. "
    "What normalizers make of them stands in the table."
)


Kind = Literal["endpoint", "reward", "metric"]


@dataclass(frozen=True)
class Column:
    """One measured quantity: the primary endpoint, a reward, or a metric that is not the same number as a reward."""

    kind: Kind
    title: str
    subtitle: str
    """The range."""
    bounds: Bounds
    """The range, as numbers."""
    also: str
    """How a canonical metric follows from it, such as `= accuracy` or `= 1 − exceed_ratio`; may be empty."""
    decimals: int
    """Digits after the point, by the size of the range."""
    values: Callable[[Entry], dict[Seed | None, float]]
    """Seed → final value; seeds that it says nothing of are missing."""


@dataclass(frozen=True)
class Cell:
    """One quantity of one entry."""

    estimate: Estimate
    """Over the seeds that the baseline ran too; over all where there is no difference."""
    difference: PairedDifference | None
    """To the baseline on shared seeds; `None` in the baseline's own row or without one."""
    baseline: float | None = None
    """The baseline's mean over the shared seeds: with `difference` it makes the estimate's mean."""
    corrected_p: float | None = None
    """Of the difference, corrected over all differences of the table."""

    @property
    def verdict(self) -> Verdict:
        """What the difference supports."""
        return judge(self.difference, self.corrected_p)


@dataclass(frozen=True)
class Row:
    """One entry among those that it may be compared with."""

    label: str
    entry: Entry
    cells: tuple[Cell | None, ...]
    """One a column; `None` where the quantity does not apply."""
    dominated_by: tuple[str, ...]
    """Labels of rows that dominate this one, see `statistics.pareto`."""
    parts: tuple[Entry, ...]
    """The entries that it shows: one, and those that go on with it."""


@dataclass(frozen=True)
class Comparison:
    """Entries that differ in nothing but the normalizer."""

    heading: str
    """The policy, and whatever tells this setting from others of the same environment."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    """Sorted by label."""
    baseline: str | None
    """Label of the row that differences refer to; `None` if it is not among the rows."""
    tuned: bool = False
    """Whether each row is the trial that tuning seeds chose."""

    @property
    def first(self) -> Entry:
        """Any entry: what they share can be read from it."""
        return self.rows[0].entry


def compare(entries: Sequence[Entry], baseline: str = BASELINE) -> list[Comparison]:
    """Group the entries of one environment and track into what may be compared.

    Args:
        entries: Entries of one environment and track, in any order.
        baseline: Name of the normalizer that the others are compared with.

    Returns:
        One comparison a setting, in a fixed order: as things stood at each earlier horizon that a plan names, at the
        end, and of plans that tune their normalizers as they were tuned. Entries stand with those that go on with them.
    """
    more = extensions(entries)
    whole = joined(entries, more)
    measured = tested(whole)
    plain = [found for group in (*at_horizons(measured), measured) for found in _compare(group, baseline)]
    parts = {entry.id: (entry, *more[entry.id]) for entry in entries if entry.id in more}
    return [_of_parts(one, parts) for one in (*plain, *_tuned(tuned_settings(whole), baseline))]


def _of_parts(comparison: Comparison, parts: Mapping[str, tuple[Entry, ...]]) -> Comparison:
    rows = [replace(row, parts=parts[row.entry.id]) if row.entry.id in parts else row for row in comparison.rows]
    return replace(comparison, rows=tuple(rows))


def _tuned(settings: Iterable[TunedSetting], baseline: str) -> list[Comparison]:
    """Each normalizer at the trial that its tuning seeds chose, of one plan or of several that tuned alike."""
    chosen = {
        outcome.entry.id: (setting.target, f"{one.label} at {one.learning_rate:g}", outcome.entry)
        for setting in settings
        for one, outcome in setting.outcomes
        if one.chosen
    }
    groups = group_alike([entry for *_, entry in chosen.values()], _tuned_alike)
    headings = distinguish(
        [f"{group[0].policy.name}, tuned on {chosen[group[0].id][0]}" for group in groups],
        [_setting_details(group[0]) for group in groups],
        [min(map(_age, group)) for group in groups],
    )
    found = []
    for heading, group in zip(headings, groups, strict=True):
        labels = distinguish([chosen[one.id][1] for one in group], [{} for _ in group], list(map(_age, group)))
        names = {one.id: label for one, label in zip(group, labels, strict=True)}
        for cut in (*at_horizons(group), group):
            found.append(replace(_comparison(heading, [(names[one.id], one) for one in cut], baseline), tuned=True))
    return found


def _tuned_alike(entry: Entry) -> dict[str, Any]:
    """All that tuned entries must share to be compared: what chose, and among what, but not what was chosen."""
    assert entry.plan is not None
    found = like(entry)
    found["training"].pop("learning_rate")
    tuning = {name: value for name, value in entry.plan.declared["tuning"].items() if name not in _OWN_IN_A_PLAN}
    return found | {"tuning": tuning, "horizons": entry.plan.horizons}


def _compare(entries: Sequence[Entry], baseline: str) -> list[Comparison]:
    groups = sorted(group_alike(entries, like), key=len, reverse=True)
    headings = distinguish(
        [group[0].policy.name for group in groups],
        [_setting_details(group[0]) for group in groups],
        [min(map(_age, group)) for group in groups],
    )
    return [
        _comparison(heading, list(zip(normalizer_labels(group), group, strict=True)), baseline)
        for heading, group in zip(headings, groups, strict=True)
    ]


def normalizer_labels(entries: Sequence[Entry]) -> list[str]:
    """Names of normalizers, with the options in which namesakes differ: `gdpo:eps=0.0001`.

    Of weights, only those are named that are not as declared: plain `grpo` stays so beside `grpo:weights.format=2.0`.
    """
    degrees = [{**entry.normalizer.live_options, "weights": changed_weights(entry)} for entry in entries]
    # Those with one label are the same run with other numbers: from another kind of CPU, or from another version.
    return distinguish([entry.normalizer.name for entry in entries], degrees, list(map(_age, entries)))


def changed_weights(entry: Entry) -> dict[str, float | str]:
    """Reward → weight, of rewards whose weight is not the declared one."""
    declared = {reward.name: reward.weight for reward in entry.environment.rewards}
    weights = entry.normalizer.weights.items()
    changed = {name: weight for name, weight in weights if weight != declared.get(name)}
    return {name: weight if isinstance(weight, int | float) else str(weight) for name, weight in changed.items()}


def distinguish(
    names: Sequence[str], details: Sequence[Mapping[str, Any]], ages: Sequence[Any] | None = None
) -> list[str]:
    """Add to names that occur more than once the details in which they differ, so that no two are the same.

    Hashes say nothing to a reader; what only they tell apart is numbered.

    Args:
        names: Names, perhaps repeated.
        details: For each name a mapping, perhaps nested.
        ages: What they are numbered by, so that younger ones change no number; by their places if absent.

    Returns:
        Labels such as `gdpo:eps=0.0001,weights.format=2.0` or `gdpo #2`.
    """
    flat = [{key: value for key, value in flatten(detail) if not _is_hash(value)} for detail in details]
    namesakes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, own in zip(names, flat, strict=True):
        namesakes[name].append(own)
    differing = {
        name: [
            key
            for key in sorted(set().union(*those))
            if any(other.get(key) != those[0].get(key) for other in those[1:])
        ]
        for name, those in namesakes.items()
    }
    labels = []
    for name, own in zip(names, flat, strict=True):
        told = ",".join(f"{key}={own[key]}" for key in differing[name] if key in own)
        labels.append(f"{name}:{told}" if told else name)
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(labels)), key=lambda place: place if ages is None else ages[place]):
        alike[labels[place]].append(place)
    for label, places in alike.items():
        for number, place in enumerate(places, 1):
            labels[place] = f"{label} #{number}" if len(places) > 1 else label
    return labels


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _age(entry: Entry) -> tuple[Any, str]:
    return entry.provenance.date, entry.id


def training_details(entry: Entry, environment: str = "") -> dict[str, Any]:
    """What may tell ways of training apart, each under a short name.

    Args:
        entry: The entry.
        environment: Id of one whose part in the warm start goes without saying.
    """
    found = like(entry)
    details = found["policy"].pop("details")
    imitated = [one for one in details.pop("warm_start_envs", []) if one["id"] != environment and one["options"]]
    others = [
        one["id"].rpartition("/")[2] + "".join(f":{k}={v}" for k, v in one["options"].items()) for one in imitated
    ]
    return {**details, **found["training"], "imitating": "+".join(others) or "defaults"}


def _setting_details(entry: Entry) -> dict[str, Any]:
    """What may tell settings of an environment apart, each under a short name."""
    environment: dict[str, Any] = like(entry)["environment"]
    options: dict[str, Any] = environment.pop("options")
    del environment["rewards"]  # too long for a heading, and their hash is there
    return environment | training_details(entry, entry.environment.id) | options


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted key, value) of everything in nested mappings."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from flatten(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def decimals(reward: RewardDeclaration) -> int:
    """Digits after the point that a reward of this range is shown with."""
    return min(max(2 - math.floor(math.log10(reward.high - reward.low)), 0), 9)


def _comparison(heading: str, named: Sequence[tuple[str, Entry]], baseline: str) -> Comparison:
    labelled = sorted(named, key=lambda pair: pair[0])
    entries = [entry for _, entry in named]
    # Among several configurations of the baseline the first label stands for it, plainly named in the notes.
    reference = next((pair for pair in labelled if pair[1].normalizer.name == baseline), None)
    rewards, metrics = tuple(_reward_columns(entries)), tuple(_metric_columns(entries))
    trained = entries[0].track == "training"
    dominators = _dominators(labelled) if trained else {}
    against = reference[1] if reference and trained else None
    columns = (*_endpoint_column(entries), *rewards, *metrics)
    cells = _cells(columns, [entry for _, entry in labelled], against)
    rows = [
        Row(label, entry, own, tuple(dominators.get(label, ())), (entry,))
        for (label, entry), own in zip(labelled, cells, strict=True)
    ]
    return Comparison(heading, columns, tuple(rows), reference[0] if reference else None)


def _dominators(labelled: Sequence[tuple[str, Entry]]) -> dict[str, list[str]]:
    """Label → labels of the entries that dominate it, as far as the seeds that both ran can tell."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    finalists = [(label, _Finals.of(entry)) for label, entry in labelled]
    for (label, own), (other, theirs) in combinations(finalists, 2):
        match _dominance(own, theirs):
            case "dominates":
                found[other].append(label)
            case "is dominated":
                found[label].append(other)
    return found


@dataclass(frozen=True)
class _Finals:
    """The rewards of an entry at the end."""

    values: tuple[dict[Seed | None, float], ...]
    """One a reward."""
    bounds: tuple[Bounds, ...]
    """Likewise."""
    seeds: tuple[frozenset[Seed | None], ...]
    means: tuple[float, ...]
    units: int
    """Independent units at most."""

    @classmethod
    def of(cls, entry: Entry) -> _Finals:
        rewards = entry.environment.rewards
        values = tuple(finals(entry, reward.name) for reward in rewards)
        return cls(
            values,
            tuple((reward.low, reward.high) for reward in rewards),
            tuple(map(frozenset, values)),
            tuple(mean(one) if one else math.nan for one in values),
            max(len(unit_means(one)[0]) if one else 0 for one in values),
        )


def _dominance(first: _Finals, second: _Finals) -> Relation:
    """`pareto` of two entries, or `undecided` as soon as neither can dominate: most pairs end at their means."""
    if first.values == second.values:
        return "equal"
    if first.seeds == second.seeds:
        apart = [
            one - other
            for one, other in zip(first.means, second.means, strict=True)
            if abs(one - other) > ROUNDING * max(abs(one), abs(other))
        ]
        if (any(one > 0 for one in apart) and any(one < 0 for one in apart)) or first.units < LEAST_UNITS:
            return "undecided"
    differences = []
    for own, theirs, bounds in zip(first.values, second.values, first.bounds, strict=True):
        difference = paired_difference(own, theirs, bounds)
        if judge(difference, difference.p if difference else None) == "undecided":
            return "undecided"  # a correction makes no p-value smaller
        differences.append(difference)
    p_values = corrected([difference.tested if difference else None for difference in differences])
    return pareto([judge(difference, p) for difference, p in zip(differences, p_values, strict=True)])


def _cells(columns: Sequence[Column], entries: Sequence[Entry], against: Entry | None) -> list[tuple[Cell | None, ...]]:
    """Cells of each entry; p-values are corrected over all that may be marked in the table."""
    base = [(column, column.values(against) if against else {}) for column in columns]
    values = [
        (column, column.values(entry), {} if entry is against else theirs)
        for entry in entries
        for column, theirs in base
    ]
    differences = [paired_difference(own, theirs, column.bounds) for column, own, theirs in values]
    p_values = corrected([one.tested if one else None for one in differences])
    cells = [
        _cell(*one, difference, p) if one[1] else None
        for one, difference, p in zip(values, differences, p_values, strict=True)
    ]
    return [tuple(cells[i : i + len(columns)]) for i in range(0, len(cells), len(columns))]


def _cell(
    column: Column,
    own: Mapping[Seed | None, float],
    theirs: Mapping[Seed | None, float],
    difference: PairedDifference | None,
    corrected_p: float | None,
) -> Cell:
    if difference is None:
        return Cell(estimate(own, column.bounds), None)
    # A mean over other seeds than the difference's could contradict it.
    shared = [seed for seed in own if seed in theirs]
    compared = estimate({seed: own[seed] for seed in shared}, column.bounds)
    return Cell(compared, difference, mean({seed: theirs[seed] for seed in shared}), corrected_p)


def all_right_finals(entry: Entry) -> dict[Seed | None, float]:
    """Seed → share of replies that are right in every reward, at the last evaluation; of results that have it."""
    return {result.seed: result.all_right.final for result in entry.results if result.all_right is not None}


def _endpoint_column(entries: Sequence[Entry]) -> Iterable[Column]:
    several = len(entries[0].environment.rewards) > 1
    if several and any(result.all_right for entry in entries for result in entry.results):
        yield Column("endpoint", ALL_RIGHT, "share", (0.0, 1.0), also="", decimals=2, values=all_right_finals)


def _reward_columns(entries: Sequence[Entry]) -> Iterable[Column]:
    for reward in entries[0].environment.rewards:
        yield Column(
            kind="reward",
            title=reward.name,
            subtitle=f"[{reward.low:g}, {reward.high:g}]",
            bounds=(reward.low, reward.high),
            also=_relation(entries, reward.name, reward.metric),
            decimals=decimals(reward),
            values=partial(finals, reward=reward.name),
        )


def _metric_columns(entries: Sequence[Entry]) -> Iterable[Column]:
    shown = {column.also.split()[-1] for column in _reward_columns(entries) if column.also}
    for metric in get_args(Metric):
        if metric not in shown and any(metric in result.metrics for entry in entries for result in entry.results):
            hint = "less is better" if metric in SHORTFALL_METRICS else "share"
            yield Column("metric", metric, hint, (0.0, 1.0), also="", decimals=2, values=_metric_values(metric))


def _relation(entries: Sequence[Entry], reward: str, metric: Metric | None) -> str:
    """How a metric follows from a reward in every result, as those of binary rewards often do; or nothing."""
    results = [result for entry in entries for result in entry.results]
    if metric is None or any(metric not in result.metrics for result in results):
        return ""
    pairs = [(result.rewards[reward].final, result.metrics[metric].final) for result in results]
    if all(math.isclose(value, share, abs_tol=1e-9) for value, share in pairs):
        return f"= {metric}"
    return f"= 1 − {metric}" if all(math.isclose(value, 1 - share, abs_tol=1e-9) for value, share in pairs) else ""


def _metric_values(name: Metric) -> Callable[[Entry], dict[Seed | None, float]]:
    def values(entry: Entry) -> dict[Seed | None, float]:
        return {result.seed: result.metrics[name].final for result in entry.results if name in result.metrics}

    return values
