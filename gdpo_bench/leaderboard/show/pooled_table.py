"""The pooled view for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.leaderboard.compare.pooled import Pooled, PooledRow, PooledView
from gdpo_bench.leaderboard.show.table import with_interval

LEGEND = (
    "IQM: mean of the middle half of the final rewards, each on [0, 1] by its declared range; environments count "
    "equally. P(above): how probably a run scores above {baseline}'s run with the same seed, ties half. ±: {level} "
    "interval of each number by itself, for other runs in these environments. No ranking: compare normalizers reward "
    "by reward with `compare`."
)

_WHOLE_NAME = 24
"""Characters of a name that stays in one line."""


def render_pooled(views: Sequence[PooledView]) -> RenderableType:
    """Tables of pooled views, for a `rich` console."""
    parts: list[RenderableType] = []
    for view in views:
        what = f"{len(view.environments)} environments, {view.rewards} rewards: {', '.join(view.environments)}"
        parts.append(Text.assemble((view.heading, "bold"), f"  {what}"))
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        baseline = view.baseline or "no baseline"
        for title in ("normalizer", "IQM", f"IQM − {baseline}", f"P(above {baseline})", "fewest units", "runs"):
            table.add_column(Text(title), overflow="fold")
        table.columns[0].no_wrap = max(len(row.label) for row in view.rows) <= _WHOLE_NAME
        for row in view.rows:
            table.add_row(*map(Text, _cells(row)))
        parts.append(table)
        if view.left_out:
            parts.append(Text(f"Left out, since not run once in each environment: {', '.join(view.left_out)}."))
        if any(row.iqm.half_width is None for row in view.rows):
            parts.append(Text("An environment with a single unit has no interval."))
    baselines = {view.baseline for view in views if view.baseline}
    legend = LEGEND.format(baseline=" or ".join(sorted(baselines)) or "the baseline", level=f"{CONFIDENCE:.0%}")
    parts.append(Text(legend, "dim"))
    return Group(*parts)


def _cells(row: PooledRow) -> tuple[str, ...]:
    pooled = (pooled_text(row.iqm), pooled_text(row.difference, "+"), pooled_text(row.improvement))
    return (row.label, *pooled, f"{row.clusters} {row.unit}{'s' if row.clusters > 1 else ''}", str(row.runs))


def pooled_text(pooled: Pooled | None, sign: str = "") -> str:
    """A pooled number with its interval, such as `0.816 ±0.010`."""
    return "–" if pooled is None else with_interval(pooled.value, pooled.half_width, 3, sign)
