"""Two entries side by side: reward by reward over the seeds that both ran, and what may be said of it.

python -m gdpo_bench.leaderboard compare 81fcff64 9b9ab4d4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdpo_bench.core.errors import DataError
from gdpo_bench.leaderboard.comparison import NOTHING_TRAINED, decimals, flatten, normalizer_labels, setting
from gdpo_bench.leaderboard.intervals import BOOTSTRAP_FROM, holm
from gdpo_bench.leaderboard.schema import Entry, RewardDeclaration
from gdpo_bench.leaderboard.statistics import (
    CONFIDENCE,
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
from gdpo_bench.leaderboard.table import rounded, with_interval

_RELATIONS: dict[Relation, str] = {
    "dominates": "{0} dominates {1}: better in at least one reward, and equal in every run in the others.",
    "is dominated": "{0} is dominated by {1}: worse in at least one reward, and equal in every run in the others.",
    "trade-off": "A trade-off: {0} is better than {1} in some rewards and worse in others.",
    "equal": "{0} and {1} have the same rewards in every run.",
    "undecided": "Neither is seen to dominate the other: an undecided reward might be higher in either.",
}
_SHOWN = 8
"""How many differences of settings an error lists."""
_CUT = 60
"""Characters of a value that such a list shows."""


@dataclass(frozen=True)
class RewardComparison:
    """One reward of two entries."""

    name: str
    decimals: int
    first: Estimate | None
    """Over all of the first's runs; `None` if the reward applies nowhere in them."""
    second: Estimate | None
    difference: PairedDifference | None
    """First minus second; `None` if no seed is shared."""
    adjusted_p: float | None
    """After Holm's correction over the rewards of this comparison."""

    @property
    def verdict(self) -> Verdict:
        """What the difference supports."""
        return judge(self.difference, self.adjusted_p)

    @property
    def words(self) -> str:
        """The verdict in words that the interval supports."""
        if self.first is None or self.second is None:
            return "cannot be compared: applies to no reply"
        if self.difference is None:
            return "cannot be compared: no shared seeds"
        if self.difference.half_width is None:
            return "cannot be told: one unit, no interval"
        if self.verdict == "undecided":
            mean, half = self.difference.mean, self.difference.half_width
            seen = "not clear beside the other rewards" if self.difference.excludes_zero else "no difference seen"
            low, high = (rounded(end, self.decimals, "+") for end in (mean - half, mean + half))
            return f"{seen} (interval {low} to {high})"
        return "equal in every run" if self.verdict == "equal" else self.verdict


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
        """Pareto dominance, as far as the verdicts support it."""
        return pareto([reward.verdict for reward in self.rewards])


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
    values = [(finals(first, reward.name), finals(second, reward.name)) for reward in shared]
    differences = [paired_difference(one, other) for one, other in values]
    adjusted = holm([difference.p if difference else None for difference in differences])
    labels = normalizer_labels([first, second])
    if first.environment.id != second.environment.id:
        labels = [f"{label} on {entry.environment.id}" for label, entry in zip(labels, (first, second), strict=True)]
    return PairComparison(
        first=labels[0],
        second=labels[1],
        rewards=tuple(
            RewardComparison(
                name=reward.name,
                decimals=decimals(reward),
                first=estimate(one) if one else None,
                second=estimate(other) if other else None,
                difference=difference,
                adjusted_p=p,
            )
            for reward, (one, other), difference, p in zip(shared, values, differences, adjusted, strict=True)
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


def render_pair(comparison: PairComparison) -> RenderableType:
    """A table of the rewards and what may be said, for a `rich` console."""
    parts: list[RenderableType] = []
    if comparison.reasons:
        parts.append(Text("Not run alike; differences may come from there:", "bold"))
        parts += [Text(f"  {reason}") for reason in comparison.reasons]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("reward", comparison.first, comparison.second, "difference", "p, Holm", "verdict"):
        table.add_column(title, overflow="fold")
    for reward in comparison.rewards:
        table.add_row(
            reward.name,
            _with_interval(reward.first, reward.decimals),
            _with_interval(reward.second, reward.decimals),
            _with_interval(reward.difference, reward.decimals, "+"),
            "" if reward.adjusted_p is None else _p(reward.adjusted_p),
            reward.words,
        )
    parts.append(table)
    parts += [Text(sentence) for sentence in _sentences(comparison)]
    return Group(*parts)


def _sentences(comparison: PairComparison) -> Sequence[str]:
    names = comparison.first, comparison.second
    differences = [reward.difference for reward in comparison.rewards if reward.difference]
    if not differences:
        return [f"{names[0]} and {names[1]} share no seeds: they cannot be compared."]
    counted = sorted({(d.n, d.unit, d.runs) for d in differences})
    units = "; ".join(f"{_count(n, unit)}, {_count(runs, 'run')}" for n, unit, runs in counted)
    sentences = [f"Difference: {names[0]} minus {names[1]} on the seeds that both ran: {units}."]
    if all(d.unit == "RL seed" for d in differences) and comparison.warm_started:
        sentences.append("All runs began from one warm start: nothing is said of others.")
    if any(d.half_width is not None for d in differences):
        most = max(d.n for d in differences)
        method = "hierarchical bootstrap" if most >= BOOTSTRAP_FROM else "Student's t on the means of units"
        sentences.append(
            f"±: {CONFIDENCE:.0%} interval of each reward by itself ({method}). Verdicts hold together: Holm's "
            f"correction over {_count(len(differences), 'reward')}."
        )
        if comparison.same_environment:
            sentences.append(_RELATIONS[comparison.relation].format(*names))
    return sentences


def _with_interval(found: Estimate | None, digits: int, sign: str = "") -> str:
    if found is None:
        return "–"
    return with_interval(found.mean, found.half_width, digits, sign)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _p(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _range(reward: RewardDeclaration) -> tuple[float, float]:
    return reward.low, reward.high


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _CUT else f"{text[: _CUT - 1]}…"
