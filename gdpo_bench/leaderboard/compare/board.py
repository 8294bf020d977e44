"""Which entries may be compared, what each is called, and the numbers that a table shows of them.

Entries are compared when nothing but the normalizer differs: same environment with the same
options, rewards and tasks, same policy, same training. Everything else is another table.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, get_args

from gdpo_bench.core.rewards import SHORTFALL_METRICS, Metric
from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard.compare.intervals import holm
from gdpo_bench.leaderboard.compare.statistics import (
    Estimate,
    PairedDifference,
    Relation,
    Verdict,
    estimate,
    finals,
    judge,
    paired_difference,
    pareto,
)
from gdpo_bench.leaderboard.files.schema import Entry, RewardDeclaration, Seed

_WARM_STARTS = "warm_start_corpus"
"""Detail of a policy: seed of the warm start → hash of what it imitated."""
BASELINE = "grpo"
"""Normalizer that the others are compared with."""
NOTHING_TRAINED = (
    "Nothing was trained on the advantage track: rewards are those of the given replies, whatever the normalizer. "
    "What normalizers make of them stands in the table."
)


@dataclass(frozen=True)
class Column:
    """One measured quantity: a reward, or a metric that is not the same number as a reward."""

    title: str
    subtitle: str
    """The range."""
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
    difference: PairedDifference | None
    """To the baseline on shared seeds; `None` in the baseline's own row or without one."""
    adjusted_p: float | None = None
    """Of the difference, after Holm's correction: over the rewards of the row, or over its metrics."""

    @property
    def verdict(self) -> Verdict:
        """What the difference supports."""
        return judge(self.difference, self.adjusted_p)


@dataclass(frozen=True)
class Row:
    """One entry among those that it may be compared with."""

    label: str
    entry: Entry
    cells: tuple[Cell | None, ...]
    """One a column; `None` where the quantity does not apply."""
    dominated_by: tuple[str, ...]
    """Labels of rows that dominate this one, see `statistics.pareto`."""


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
        One comparison a setting, in a fixed order.
    """
    groups = sorted(group_alike(entries, like), key=len, reverse=True)
    headings = distinguish([group[0].policy.name for group in groups], [_setting_details(group[0]) for group in groups])
    return [_comparison(heading, group, baseline) for heading, group in zip(headings, groups, strict=True)]


def group_alike(entries: Iterable[Entry], fixed: Callable[[Entry], Mapping[str, Any]]) -> list[list[Entry]]:
    """Entries that agree in all that is fixed, and in the warm starts that they share; in a fixed order.

    Args:
        entries: In any order.
        fixed: What must agree of an entry, as JSON.
    """
    groups: defaultdict[str, list[list[Entry]]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.id):
        known = groups[canonical_json(fixed(entry))]
        home = next((group for group in known if all(_same_warm_starts(entry, other) for other in group)), None)
        if home is None:
            known.append([entry])
        else:
            home.append(entry)
    return [group for key in sorted(groups) for group in groups[key]]


def normalizer_labels(entries: Sequence[Entry]) -> list[str]:
    """Names of normalizers, with the options in which namesakes differ: `gdpo:eps=0.0001`.

    Of weights, only those are named that are not as declared: plain `grpo` stays so beside `grpo:weights.format=2.0`.
    """
    degrees = [{**entry.normalizer.live_options, "weights": changed_weights(entry)} for entry in entries]
    labels = distinguish([entry.normalizer.name for entry in entries], degrees)
    # The same run with other numbers: from another kind of CPU, or from another version.
    return [
        label if labels.count(label) == 1 else f"{label} #{entry.id[:6]}"
        for label, entry in zip(labels, entries, strict=True)
    ]


def changed_weights(entry: Entry) -> dict[str, float]:
    """Reward → weight, of rewards whose weight is not the declared one."""
    declared = {reward.name: reward.weight for reward in entry.environment.rewards}
    return {name: weight for name, weight in entry.normalizer.weights.items() if weight != declared.get(name)}


def distinguish(names: Sequence[str], details: Sequence[Mapping[str, Any]]) -> list[str]:
    """Add to names that occur more than once the details in which they differ.

    Args:
        names: Names, perhaps repeated.
        details: For each name a mapping, perhaps nested.

    Returns:
        Labels such as `gdpo:eps=0.0001,weights.format=2.0`.
    """
    flat = [dict(flatten(detail)) for detail in details]
    labels = []
    for name, own in zip(names, flat, strict=True):
        namesakes = [other for other_name, other in zip(names, flat, strict=True) if other_name == name]
        differing = [key for key in sorted(own) if any(other.get(key) != own[key] for other in namesakes)]
        labels.append(name + (":" + ",".join(f"{key}={own[key]}" for key in differing) if differing else ""))
    return labels


def setting(entry: Entry) -> dict[str, Any]:
    """All that entries must share to be compared, as fresh JSON."""
    return entry.model_dump(mode="json", include={"track", "environment", "policy"}) | {
        "training": entry.trained_with()
    }


def like(entry: Entry) -> dict[str, Any]:
    """All that entries must share to be compared but the warm starts, of which one may have more."""
    found = setting(entry)
    found["policy"]["details"].pop(_WARM_STARTS, None)
    return found


def _same_warm_starts(first: Entry, second: Entry) -> bool:
    """Whether the warm starts that both began from imitated the same."""
    one, other = (entry.policy.details.get(_WARM_STARTS, {}) for entry in (first, second))
    return all(one[seed] == other[seed] for seed in one.keys() & other.keys())


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


def relation(first: Entry, second: Entry) -> Relation:
    """Whether the first Pareto-dominates the second, as far as the seeds that both ran can tell."""
    names = [reward.name for reward in first.environment.rewards]
    differences = [paired_difference(finals(first, name), finals(second, name)) for name in names]
    adjusted = holm([difference.p if difference else None for difference in differences])
    return pareto([judge(difference, p) for difference, p in zip(differences, adjusted, strict=True)])


def _comparison(heading: str, entries: Sequence[Entry], baseline: str) -> Comparison:
    labelled = sorted(zip(normalizer_labels(entries), entries, strict=True), key=lambda pair: pair[0])
    # Among several configurations of the baseline the first label stands for it, plainly named in the notes.
    reference = next((pair for pair in labelled if pair[1].normalizer.name == baseline), None)
    rewards, metrics = tuple(_reward_columns(entries)), tuple(_metric_columns(entries))
    dominators = _dominators(labelled) if entries[0].track == "training" else {}
    rows = []
    for label, entry in labelled:
        compared = reference is not None and entry is not reference[1] and entry.track == "training"
        against = reference[1] if reference and compared else None
        rows.append(
            Row(
                label=label,
                entry=entry,
                cells=(*_cells(rewards, entry, against), *_cells(metrics, entry, against)),
                dominated_by=tuple(dominators.get(label, ())),
            )
        )
    return Comparison(heading, (*rewards, *metrics), tuple(rows), reference[0] if reference else None)


def _dominators(labelled: Sequence[tuple[str, Entry]]) -> dict[str, list[str]]:
    """Label → labels of the entries that dominate it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for (label, entry), (other, rival) in combinations(labelled, 2):
        match relation(entry, rival):
            case "dominates":
                found[other].append(label)
            case "is dominated":
                found[label].append(other)
    return found


def _cells(columns: Sequence[Column], entry: Entry, against: Entry | None) -> list[Cell | None]:
    """Cells of one family of quantities, over which Holm's correction goes."""
    values = [column.values(entry) for column in columns]
    differences = [
        paired_difference(own, column.values(against)) if own and against else None
        for own, column in zip(values, columns, strict=True)
    ]
    adjusted = holm([difference.p if difference else None for difference in differences])
    return [
        Cell(estimate(own), difference, p) if own else None
        for own, difference, p in zip(values, differences, adjusted, strict=True)
    ]


def _reward_columns(entries: Sequence[Entry]) -> Iterable[Column]:
    for reward in entries[0].environment.rewards:
        yield Column(
            title=reward.name,
            subtitle=f"[{reward.low:g}, {reward.high:g}]",
            also=_relation(entries, reward.name, reward.metric),
            decimals=decimals(reward),
            values=partial(finals, reward=reward.name),
        )


def _metric_columns(entries: Sequence[Entry]) -> Iterable[Column]:
    shown = {column.also.split()[-1] for column in _reward_columns(entries) if column.also}
    for metric in get_args(Metric):
        if metric not in shown and any(metric in result.metrics for entry in entries for result in entry.results):
            hint = "less is better" if metric in SHORTFALL_METRICS else "share"
            yield Column(title=metric, subtitle=hint, also="", decimals=2, values=_metric_values(metric))


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
