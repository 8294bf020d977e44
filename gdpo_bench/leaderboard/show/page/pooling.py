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
from gdpo_bench.leaderboard.show.page.looks import Look
from gdpo_bench.leaderboard.show.page.views import Field
from gdpo_bench.leaderboard.show.pooled_table import LEGEND, pooled_text


@dataclass(frozen=True)
class PooledPanel:
    """A pooled view: its table and its profiles."""

    anchor: str
    view: PooledView
    fields: Mapping[str, tuple[Field, ...]]
    """Label → IQM, its difference to the baseline's, probability of improvement, fewest units, runs."""
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
    return [
        PooledPanel(
            anchor=f"pooled-{i}",
            view=view,
            fields={row.label: _pooled_fields(row) for row in view.rows},
            legend=LEGEND.format(baseline=view.baseline or "the baseline", level=f"{CONFIDENCE:.0%}").replace("`", ""),
            drawing=charts.profiles(view, looks),
        )
        for i, view in enumerate(views, 1)
    ]


def _pooled_fields(row: PooledRow) -> tuple[Field, ...]:
    numbers = [
        Field(pooled_text(number, sign).replace("-", "−"), number.value if number else None)
        for number, sign in ((row.iqm, ""), (row.difference, "+"), (row.improvement, ""))
    ]
    units = f"{row.clusters} {row.unit}{'s' if row.clusters > 1 else ''}"
    return (*numbers, Field(units, row.clusters), Field(str(row.runs), row.runs))
