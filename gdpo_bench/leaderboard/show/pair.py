"""Two entries side by side, as a table and in sentences.

python -m gdpo_bench.leaderboard compare 81fcff64 9b9ab4d4
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.leaderboard.compare.pair import PairComparison, RewardComparison
from gdpo_bench.leaderboard.compare.sign_flips import LEAST_UNITS
from gdpo_bench.leaderboard.compare.statistics import Estimate, Relation
from gdpo_bench.leaderboard.show.table import estimate_text, interval_text

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
    for title in ("reward", comparison.first, comparison.second, "difference", "p", "verdict"):
        table.add_column(Text(title), overflow="fold")
    for reward in comparison.rewards:
        table.add_row(
            Text(reward.name),
            _text_of(reward.first, reward.decimals),
            _text_of(reward.second, reward.decimals),
            _text_of(reward.difference, reward.decimals, "+"),
            "" if reward.corrected_p is None else p_text(reward.corrected_p),
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
    if any(d.n > 1 for d in differences):
        sentences.append(
            f"Intervals ({CONFIDENCE:.0%}) hold for each reward by itself: Student's t on the means of units, or of a "
            "count of units (Clopper-Pearson, Newcombe). p: exact sign flips, corrected over "
            f"{_count(len(differences), 'reward')}; with fewer than {LEAST_UNITS} units none can reach .05."
        )
        if comparison.same_environment:
            sentences.append(_RELATIONS[comparison.relation].format(*names))
    return sentences


def _text_of(found: Estimate | None, digits: int, sign: str = "") -> str:
    if found is None:
        return "–"
    return estimate_text(found, digits, sign)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def p_text(p: float) -> str:
    """A p-value such as `.012` or `< .001`."""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def verdict_words(reward: RewardComparison) -> str:
    """The verdict in words that the interval supports."""
    if reward.first is None or reward.second is None:
        return "cannot be compared: applies to no reply"
    if reward.difference is None:
        return "cannot be compared: no shared seeds"
    interval = reward.difference.shown_interval
    if interval is None:
        return "cannot be told: one unit, no interval"
    if reward.verdict == "undecided":
        few = f"too few to tell: {reward.difference.n} units" if reward.difference.n < LEAST_UNITS else "not clear"
        seen = few if reward.difference.excludes_zero else "no difference seen"
        decimals = 2 if reward.difference.count else reward.decimals
        return f"{seen} (interval {interval_text(interval, decimals, '+')})"
    return "equal in every run" if reward.verdict == "equal" else reward.verdict
