"""What a visitor asks first: which normalizer differs from the baseline, in which reward, by how much, how surely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gdpo_bench.core.rewards import SHORTFALL_METRICS
from gdpo_bench.leaderboard.compare.board import BASELINE, Cell, Comparison, Row
from gdpo_bench.leaderboard.compare.statistics import PairedDifference
from gdpo_bench.leaderboard.show.page.looks import Look
from gdpo_bench.leaderboard.show.pair import p_text
from gdpo_bench.leaderboard.show.sentences import learned, worth_saying
from gdpo_bench.leaderboard.show.table import DIAGNOSTICS, estimate_text, from_and_to, means

_NAMED = 2
"""So many others with the same finding are named."""
_LEVELS = "distinct_levels"


@dataclass(frozen=True)
class Finding:
    """A quantity in which a normalizer differs from the baseline, surely or as far as few units tell."""

    quantity: str
    direction: str
    """`higher` or `lower`."""
    better: bool
    """Whether that direction is the wanted one."""
    clear: bool
    """Whether it is sure; else units are too few, but they agree."""
    label: str
    look: Look
    change: str
    """From the baseline's mean to the normalizer's over the same seeds, or from one count of units to the other."""
    means: str
    """The means where counts are told; else empty."""
    difference: str
    sure: str
    """In how many units, and the p-value."""
    note: str
    """Who learned it, and who else differs so; may be empty."""


def findings(comparison: Comparison, looks: Mapping[str, Look]) -> list[Finding]:
    """What stands out: for the endpoint, each reward and direction the normalizer that goes furthest; largest first.

    Args:
        comparison: Of either track.
        looks: Entry id → look.
    """
    if comparison.first.track == "advantage":
        return _levels(comparison, looks)
    base = next((row for row in comparison.rows if row.label == comparison.baseline), None)
    found = [
        (size / (column.bounds[1] - column.bounds[0]), finding)
        for index, column in enumerate(comparison.columns)
        for direction in ("higher", "lower")
        if base and column.kind != "metric"
        for size, finding in _furthest(comparison, index, direction, base, looks)
    ]
    return [finding for _, finding in sorted(found, key=lambda one: -one[0])]


def nothing(comparison: Comparison) -> str:
    """Why there is no finding, in a sentence."""
    if comparison.baseline is None:
        return f"No entry of {BASELINE}, hence no differences."
    return "No clear difference."


def strength(row: Row, comparison: Comparison) -> tuple[bool, float]:
    """How much a row stands out, for sorting: whether by more than noise, and how far, as a share of a range."""
    if comparison.first.track == "advantage":
        return False, row.entry.results[0].diagnostics.get(_LEVELS, 0.0)
    sizes = [
        (_is_clear(cell), abs(cell.difference.mean) / (column.bounds[1] - column.bounds[0]))
        for cell, column in zip(row.cells, comparison.columns, strict=True)
        if cell and cell.difference and column.kind != "metric"
    ]
    return max(sizes, default=(False, 0.0))


def _is_clear(cell: Cell) -> bool:
    return cell.verdict in ("better", "worse")


def _furthest(
    comparison: Comparison, index: int, direction: str, base: Row, looks: Mapping[str, Look]
) -> Iterator[tuple[float, Finding]]:
    """The finding of a column and a direction, if there is one, and how large it is."""
    column = comparison.columns[index]
    found = [
        (row, cell, cell.difference)
        for row in comparison.rows
        if (cell := row.cells[index]) is not None
        and cell.difference is not None
        and worth_saying(cell)
        and (sum(cell.difference.tested.values()) > 0) == (direction == "higher")
    ]
    # Of those that are shown with the same number, a pinned one stands for all.
    found.sort(
        key=lambda one: (
            not _is_clear(one[1]),
            -_shown_size(one[2], column.decimals),
            not looks[one[0].entry.id].pinned,
            one[0].label,
        )
    )
    for row, cell, difference in found[:1]:
        wanted = "lower" if column.title in SHORTFALL_METRICS else "higher"
        names = _short_names(comparison)
        others = sorted((one for one, *_ in found[1:]), key=lambda one: not looks[one.entry.id].pinned)
        notes = [*_who_learned(row, base, column.title, names), *_others([names[one.label] for one in others])]
        yield (
            abs(difference.mean),
            Finding(
                quantity=column.title,
                direction=direction,
                better=direction == wanted,
                clear=_is_clear(cell),
                label=row.label,
                look=looks[row.entry.id],
                change=_arrow(*from_and_to(cell, column)),
                means="" if difference.count is None else _arrow(*means(cell, column)),
                difference=_minus(estimate_text(difference, column.decimals, "+")),
                sure=_sure(cell, difference),
                note="; ".join(notes),
            ),
        )


def _shown_size(difference: PairedDifference, decimals: int) -> float:
    """How large the number is that is shown: a share of units where they are counted."""
    return abs(difference.count.k) / difference.count.n if difference.count else round(abs(difference.mean), decimals)


def _arrow(theirs: str, own: str) -> str:
    return _minus(f"{theirs} → {own}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _sure(cell: Cell, difference: PairedDifference) -> str:
    told = f"{max(difference.wins, difference.losses)} of {difference.n} {difference.unit}s"
    if cell.corrected_p is None or not _is_clear(cell):
        return f"{told}, too few to be sure"
    p = p_text(cell.corrected_p)
    return f"{told}, p {p if p.startswith('<') else f'= {p}'}"


def _short_names(comparison: Comparison) -> Mapping[str, str]:
    """Label → the normalizer's name, where that says which row is meant; a tuned row's label has a rate, too."""
    rows = Counter(row.entry.normalizer.name for row in comparison.rows)
    return {row.label: name if rows[name := row.entry.normalizer.name] == 1 else row.label for row in comparison.rows}


def _who_learned(row: Row, base: Row, quantity: str, names: Mapping[str, str]) -> Iterable[str]:
    ours, theirs = (learned(one.entry, quantity) for one in (row, base))
    if ours != theirs:
        one, other = (row, base) if ours else (base, row)
        yield f"{names[one.label]} learned it, {names[other.label]} did not"


def _others(names: Sequence[str]) -> Iterable[str]:
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"so do {', '.join(names[:_NAMED])}{more}" if len(names) > 1 else f"so does {names[0]}"


def _levels(comparison: Comparison, looks: Mapping[str, Look]) -> list[Finding]:
    values = [(row, row.entry.results[0].diagnostics.get(_LEVELS)) for row in comparison.rows]
    known = [(row, value) for row, value in values if value is not None]
    base = next((value for row, value in known if row.label == comparison.baseline), None)
    if base is None:
        return []
    most, fewest = (pick(known, key=lambda one: one[1]) for pick in (max, min))
    return [
        Finding(
            quantity=DIAGNOSTICS[_LEVELS],
            direction="higher" if value > base else "lower",
            better=value > base,
            clear=True,
            label=row.label,
            look=looks[row.entry.id],
            change=_arrow(f"{base:,.0f}", f"{value:,.0f}"),
            means="",
            difference=_minus(f"{value - base:+,.0f}"),
            sure="nothing is random",
            note="",
        )
        for row, value in (most, fewest)
        if value != base
    ]
