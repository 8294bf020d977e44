"""Plans: results at the horizons that one names, and normalizers at the training options that tuning seeds chose.

What chooses is never what is measured: entries with the role `tuning` hold the tuning seeds, stand in no comparison,
and decide which of the entries with the role `test` a tuned row is. All of those are reported, chosen or not; a plan
may say that only what was chosen is tested.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdpo_bench.core.intervals import Bounds
from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard.compare.extensions import with_extensions
from gdpo_bench.leaderboard.compare.learning import curve_of
from gdpo_bench.leaderboard.compare.statistics import Estimate, estimate, mean
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Curve, Entry, Seed, SeedResult


@dataclass(frozen=True)
class Outcome:
    """What the test seeds say of a trial."""

    entry: Entry
    estimate: Estimate
    """Of the target's final value."""


@dataclass(frozen=True)
class Trial:
    """Training options, and options of its own, that were tried with a normalizer."""

    label: str
    """The normalizer, with those of its options that were tuned."""
    learning_rate: float
    tuning: float
    """Mean final value of the target over the tuning seeds."""
    chosen: bool
    outcome: Outcome | None
    """None where the plan tests only what was chosen."""


@dataclass(frozen=True)
class TunedSetting:
    """All trials of a plan on one environment."""

    environment: str
    plan: str
    """Hash of the plan."""
    target: str
    tuning_seeds: int
    normalizers: Mapping[str, tuple[Trial, ...]]
    """Name → its trials, by learning rate."""

    @property
    def outcomes(self) -> list[tuple[Trial, Outcome]]:
        """Every trial that was tested, with what came of it."""
        trials = [one for own in self.normalizers.values() for one in own]
        return [(one, one.outcome) for one in trials if one.outcome is not None]

    @property
    def all_tested(self) -> bool:
        """Whether there is a curve over learning rates, and not what was chosen alone."""
        return all(one.outcome for own in self.normalizers.values() for one in own)


def tested(entries: Sequence[Entry]) -> list[Entry]:
    """Entries that may be compared: all but those of tuning seeds."""
    return [entry for entry in entries if entry.plan is None or entry.plan.role == "test"]


def at_horizons(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries as they stood at each earlier horizon that their plans name; those of plans that name it, each time."""
    steps = sorted({step for entry in entries if entry.plan for step in entry.plan.horizons})
    found = [[cut for entry in entries if (cut := at_horizon(entry, step)) is not None] for step in steps]
    return [group for group in found if group]


def at_horizon(entry: Entry, step: int) -> Entry | None:
    """An entry as if its runs had ended at a step; None if its plan does not name it, or they ended there."""
    named = entry.plan is not None and step in entry.plan.horizons
    if not named or any(step not in one.steps or one.steps[-1] <= step for one in entry.results):
        return None
    return entry.model_copy(update={"results": [_cut(one, step) for one in entry.results]})


def _cut(result: SeedResult, step: int) -> SeedResult:
    count = result.steps.index(step) + 1

    def shorter(curve: Curve) -> Curve:
        return Curve.of(curve.curve[:count])

    return result.model_copy(
        update={
            "steps": result.steps[:count],
            "rewards": {name: shorter(curve) for name, curve in result.rewards.items()},
            "metrics": {name: shorter(curve) for name, curve in result.metrics.items()},
            "all_right": result.all_right and shorter(result.all_right),
        }
    )


def tuned_settings(entries: Sequence[Entry]) -> list[TunedSetting]:
    """Plans that tune, on each environment: every normalizer all of whose trials are there.

    Args:
        entries: Entries of any environments, completed from their sidecars where the target is `all right`.
    """
    settings: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in with_extensions(entries):
        if entry.plan is not None and entry.plan.target is not None:
            settings[canonical_json([entry.plan.hash, entry.environment.id, entry.environment.options])].append(entry)
    found = [_setting(settings[key]) for key in sorted(settings)]
    return [one for one in found if one.normalizers]


def best_trial(entries: Sequence[Entry], target: str) -> Entry | None:
    """The trial with the highest mean final value of the target; of equal ones that of the lowest learning rate.

    Args:
        entries: One a trial, of the tuning seeds, completed from their sidecars where the target is `all right`.
        target: What decides.

    Returns:
        One of them; None where one has no value of the target, so that they cannot be compared.
    """
    if not all(target_values(entry, target) for entry in entries):
        return None
    ordered = sorted(entries, key=lambda entry: (_rate(entry), _trial_key(entry)))
    return max(ordered, key=lambda entry: mean(target_values(entry, target)), default=None)


def target_values(entry: Entry, target: str) -> dict[Seed | None, float]:
    """Seed → final value of what decides."""
    return {one.seed: curve.final for one in entry.results if (curve := curve_of(one, target)) is not None}


def _setting(entries: Sequence[Entry]) -> TunedSetting:
    plan = entries[0].plan
    assert plan is not None
    target = plan.target or ALL_RIGHT
    tuned_options: Mapping[str, Any] = plan.declared["tuning"].get("options", {})
    by_name: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        name = entry.normalizer.name
        own = {option for options in tuned_options.get(name, ()) for option in options}
        fixed = {key: value for key, value in entry.normalizer.live_options.items() if key not in own}
        by_name[canonical_json([name, fixed, entry.normalizer.weights])].append(entry)
    normalizers: dict[str, tuple[Trial, ...]] = {}
    for key in sorted(by_name):
        name = by_name[key][0].normalizer.name
        trials = _trials(by_name[key], target, tuned_options.get(name, ({},)), plan.declared["tuning"])
        if trials:
            label = name if name not in normalizers else f"{name} #{len(normalizers)}"
            normalizers[label] = trials
    return TunedSetting(
        entries[0].environment.id, plan.hash, target, len(plan.declared["tuning"]["seeds"]), normalizers
    )


def _trials(
    entries: Sequence[Entry], target: str, option_sets: Sequence[Mapping[str, Any]], tuning: Mapping[str, Any]
) -> tuple[Trial, ...]:
    """Trials of a normalizer, none where some are missing: a choice among the rest would be another one."""
    tried = {_trial_key(entry): entry for entry in entries if entry.plan and entry.plan.role == "tuning"}
    measured = {_trial_key(entry): entry for entry in entries if entry.plan and entry.plan.role == "test"}
    expected = len(tuning["learning_rates"]) * len(option_sets)
    chosen = best_trial(list(tried.values()), target)
    if chosen is None or len(tried) != expected:
        return ()
    best = _trial_key(chosen)
    if measured.keys() != ({best} if tuning.get("tested") == "chosen" else tried.keys()):
        return ()
    own = {option for options in option_sets for option in options}
    return tuple(
        Trial(
            label=_label(tried[one], own),
            learning_rate=_rate(tried[one]),
            tuning=mean(target_values(tried[one], target)),
            chosen=one == best,
            outcome=_outcome(measured[one], target) if one in measured else None,
        )
        for one in sorted(tried, key=lambda one: (_rate(tried[one]), one))
    )


def _trial_key(entry: Entry) -> str:
    return canonical_json([entry.training, entry.normalizer.live_options])


def _outcome(entry: Entry, target: str) -> Outcome:
    return Outcome(entry, estimate(target_values(entry, target), _bounds(entry, target)))


def _rate(entry: Entry) -> float:
    return float((entry.training or {}).get("learning_rate", 0.0))


def _label(entry: Entry, tuned: set[str]) -> str:
    own = [f"{name}={entry.normalizer.live_options[name]}" for name in sorted(tuned)]
    return entry.normalizer.name + (":" + ",".join(own) if own else "")


def _bounds(entry: Entry, name: str) -> Bounds:
    return next(((one.low, one.high) for one in entry.environment.rewards if one.name == name), (0.0, 1.0))
