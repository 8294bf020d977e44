"""The pooled views as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.leaderboard.compare.pooled import PooledRow, PooledView, pool
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.show.page import charts
from gdpo_bench.leaderboard.show.page.looks import PINNED, Look
from gdpo_bench.leaderboard.show.page.views import SHOWN, Field
from gdpo_bench.leaderboard.show.pooled_table import LEGEND, pooled_text


@dataclass(frozen=True)
class PooledLine:
    """A row of a pooled view."""

    row: PooledRow
    fields: tuple[Field, ...]
    """IQM, its difference to the baseline's, probability of improvement, fewest units, runs."""
    pinned: bool
    extra: bool
    """Whether it is shown only to those who ask for more."""


@dataclass(frozen=True)
class PooledPanel:
    """A pooled view: its table and its profiles."""

    anchor: str
    view: PooledView
    lines: tuple[PooledLine, ...]
    """Pinned ones first, then those that are shown, then the others by label."""
    legend: str
    drawing: Markup


def pooled(entries: Sequence[Entry], looks: Mapping[str, Look]) -> list[PooledPanel]:
    """What was trained alike in several environments, seen together; nothing where there is no such thing.

    Args:
        entries: Entries that no other entry corrects.
        looks: Entry id → look.
    """
    try:
        views = pool(entries)
    except DataError:
        return []
    lines = [_lines(view, looks) for view in views]
    return [
        PooledPanel(
            anchor=f"pooled-{i}",
            view=view,
            lines=own,
            legend=LEGEND.format(baseline=view.baseline or "the baseline", level=f"{CONFIDENCE:.0%}").replace("`", ""),
            drawing=charts.profiles(view, looks, {line.row.label for line in own if line.extra}),
        )
        for i, (view, own) in enumerate(zip(views, lines, strict=True), 1)
    ]


def _lines(view: PooledView, looks: Mapping[str, Look]) -> tuple[PooledLine, ...]:
    pinned: list[PooledRow] = []
    for name in PINNED:
        pinned += [row for row in view.rows if row.entry.normalizer.name == name][:1]
    shown = list(pinned)
    far = sorted(view.rows, key=lambda row: abs(row.difference.value) if row.difference else 0.0, reverse=True)
    for row in far:
        colours = {looks[one.entry.id].colour for one in shown}
        if len(shown) < SHOWN and row not in shown and looks[row.entry.id].colour not in colours:
            shown.append(row)
    rows = [*shown, *(row for row in view.rows if row not in shown)]
    return tuple(PooledLine(row, _pooled_fields(row), row in pinned, row not in shown) for row in rows)


def _pooled_fields(row: PooledRow) -> tuple[Field, ...]:
    numbers = [
        Field(pooled_text(number, sign).replace("-", "−"), number.value if number else None)
        for number, sign in ((row.iqm, ""), (row.difference, "+"), (row.improvement, ""))
    ]
    units = f"{row.clusters} {row.unit}{'s' if row.clusters > 1 else ''}"
    return (*numbers, Field(units, row.clusters), Field(str(row.runs), row.runs))
