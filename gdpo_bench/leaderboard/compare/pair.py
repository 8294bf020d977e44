"""Two entries side by side: reward by reward over the seeds that both ran, and what may be said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.intervals import Bounds
from gdpo_bench.leaderboard.compare.alike import setting
from gdpo_bench.leaderboard.compare.board import (
    NOTHING_TRAINED,
    all_right_finals,
    decimals,
    flatten,
    normalizer_labels,
)
from gdpo_bench.leaderboard.compare.sign_flips import corrected
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
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry, RewardDeclaration, Seed

_SHOWN = 8
"""How many differences of settings an error lists."""
_CUT = 60
"""Characters of a value that such a list shows."""


@dataclass(frozen=True)
class RewardComparison:
    """One reward of two entries, or the primary endpoint."""

    name: str
    decimals: int
    first: Estimate | None
    """Over the first's runs on shared seeds, over all where none is shared; `None` if the reward applies nowhere."""
    second: Estimate | None
    difference: PairedDifference | None
    """First minus second; `None` if no seed is shared."""
    corrected_p: float | None
    """Of the difference, corrected over the rewards of this comparison."""

    @property
    def verdict(self) -> Verdict:
        """What the difference supports."""
        return judge(self.difference, self.corrected_p)


@dataclass(frozen=True)
class PairComparison:
    """Two entries, reward by reward."""

    first: str
    """Label of the first entry."""
    second: str
    rewards: tuple[RewardComparison, ...]
    reasons: tuple[str, ...]
    """In what the two differ beside the normalizer; empty where like is compared with like."""
    same_environment: bool
    warm_started: bool
    """Whether training began from warm starts, not from a pretrained policy."""

    @property
    def relation(self) -> Relation:
        """Pareto dominance, as far as the verdicts support it; the primary endpoint is no reward."""
        return pareto([reward.verdict for reward in self.rewards if reward.name != ALL_RIGHT])


def compare_pair(first: Entry, second: Entry, anyway: bool = False) -> PairComparison:
    """Compare two entries of the training track over the seeds that both ran.

    Args:
        first: What is judged.
        second: What it is compared with.
        anyway: Compare also what was not run alike, in the rewards that both have.

    Raises:
        DataError: They differ in more than the normalizer, with the reasons; or there is nothing to compare.
    """
    if "advantage" in (first.track, second.track):
        raise DataError(NOTHING_TRAINED)
    reasons = unlike(first, second)
    if reasons and not anyway:
        shown = [*reasons[:_SHOWN], *([f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else [])]
        listed = "".join(f"\n  {reason}" for reason in shown)
        raise DataError(
            f"{first.id} and {second.id} differ in more than the normalizer, so that a difference in rewards could "
            f"come from there:{listed}\nTo compare them anyway: --anyway"
        )
    theirs = {reward.name: reward for reward in second.environment.rewards}
    shared = [r for r in first.environment.rewards if r.name in theirs and _range(r) == _range(theirs[r.name])]
    if not shared:
        raise DataError(f"{first.id} and {second.id} have no reward of the same name and range: nothing to compare.")
    quantities = [(reward.name, decimals(reward), _range(reward)) for reward in shared]
    values = [(finals(first, reward.name), finals(second, reward.name)) for reward in shared]
    rights = all_right_finals(first), all_right_finals(second)
    if all(rights) and len(shared) > 1 and first.environment.rewards == second.environment.rewards:
        quantities.insert(0, (ALL_RIGHT, 2, (0.0, 1.0)))
        values.insert(0, rights)
    differences = [paired_difference(*pair, bounds) for (_, _, bounds), pair in zip(quantities, values, strict=True)]
    p_values = corrected([difference.tested if difference else None for difference in differences])
    labels = normalizer_labels([first, second])
    if first.environment.id != second.environment.id:
        labels = [f"{label} on {entry.environment.id}" for label, entry in zip(labels, (first, second), strict=True)]
    return PairComparison(
        first=labels[0],
        second=labels[1],
        rewards=tuple(
            RewardComparison(
                name=name,
                decimals=digits,
                first=_estimate(one, other, bounds),
                second=_estimate(other, one, bounds),
                difference=difference,
                corrected_p=p,
            )
            for (name, digits, bounds), (one, other), difference, p in zip(
                quantities, values, differences, p_values, strict=True
            )
        ),
        reasons=tuple(reasons),
        same_environment=first.environment.id == second.environment.id,
        warm_started=any(result.seed and result.seed.warm_start is not None for result in first.results),
    )


def unlike(first: Entry, second: Entry) -> list[str]:
    """In what two entries differ that a comparison of normalizers must hold fixed, one line each.

    The corpus of a warm start that only one of them has is no difference: only shared seeds are compared.
    """
    one, other = (dict(flatten(setting(entry))) for entry in (first, second))
    missing = object()
    lines = []
    for key in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(key, missing), other.get(key, missing)
        own_seed = key.startswith("policy.details.warm_start_corpus.") and missing in (mine, theirs)
        if mine != theirs and not own_seed:
            lines.append(f"{key}: " + " / ".join("absent" if v is missing else _short(v) for v in (mine, theirs)))
    return lines


def _estimate(own: Mapping[Seed | None, float], other: Mapping[Seed | None, float], bounds: Bounds) -> Estimate | None:
    """Over the seeds of the difference, since a mean over more could contradict it."""
    shared = {seed: value for seed, value in own.items() if seed in other}
    return estimate(shared or own, bounds) if own else None


def _range(reward: RewardDeclaration) -> tuple[float, float]:
    return reward.low, reward.high


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _CUT else f"{text[: _CUT - 1]}…"
