"""Two entries side by side, as a table and in sentences.

python -m gdpo_bench.leaderboard compare 81fcff64 9b9ab4d4
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdpo_bench.leaderboard.compare.intervals import BOOTSTRAP_FROM
from gdpo_bench.leaderboard.compare.pair import PairComparison, RewardComparison
from gdpo_bench.leaderboard.compare.statistics import CONFIDENCE, Estimate, Relation
from gdpo_bench.leaderboard.show.table import rounded, with_interval

_RELATIONS: dict[Relation, str] = {
    "dominates": "{0} dominates {1}: better in at least one reward, and equal in every run in the others.",
    "is dominated": "{0} is dominated by {1}: worse in at least one reward, and equal in every run in the others.",
    "trade-off": "A trade-off: {0} is better than {1} in some rewards and worse in others.",
    "equal": "{0} and {1} have the same rewards in every run.",
    "undecided": "Neither is seen to dominate the other: an undecided reward might be higher in either.",
}


def render_pair(comparison: PairComparison) -> RenderableType:
    """A table of the rewards and what may be said, for a `rich` console."""
    parts: list[RenderableType] = []
    if comparison.reasons:
        parts.append(Text("Not run alike; differences may come from there:", "bold"))
        parts += [Text(f"  {reason}") for reason in comparison.reasons]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("reward", comparison.first, comparison.second, "difference", "p, Holm", "verdict"):
        table.add_column(Text(title), overflow="fold")
    for reward in comparison.rewards:
        table.add_row(
            Text(reward.name),
            _with_interval(reward.first, reward.decimals),
            _with_interval(reward.second, reward.decimals),
            _with_interval(reward.difference, reward.decimals, "+"),
            "" if reward.adjusted_p is None else _p(reward.adjusted_p),
            verdict_words(reward),
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


def verdict_words(reward: RewardComparison) -> str:
    """The verdict in words that the interval supports."""
    if reward.first is None or reward.second is None:
        return "cannot be compared: applies to no reply"
    if reward.difference is None:
        return "cannot be compared: no shared seeds"
    if reward.difference.half_width is None:
        return "cannot be told: one unit, no interval"
    if reward.verdict == "undecided":
        mean, half = reward.difference.mean, reward.difference.half_width
        seen = "not clear beside the other rewards" if reward.difference.excludes_zero else "no difference seen"
        low, high = (rounded(end, reward.decimals, "+") for end in (mean - half, mean + half))
        return f"{seen} (interval {low} to {high})"
    return "equal in every run" if reward.verdict == "equal" else reward.verdict
