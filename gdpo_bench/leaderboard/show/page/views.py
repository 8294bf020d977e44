"""What the page shows of entries and comparisons, ready to be laid out: texts, sort keys and charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gdpo_bench.core.rewards import SHORTFALL_METRICS
from gdpo_bench.leaderboard.compare.board import BASELINE, Cell, Column, Comparison, Row, compare, setting
from gdpo_bench.leaderboard.files.schema import Entry, Track
from gdpo_bench.leaderboard.files.store import entry_path
from gdpo_bench.leaderboard.show.page import charts
from gdpo_bench.leaderboard.show.page.looks import Look
from gdpo_bench.leaderboard.show.table import (
    DIAGNOSTICS,
    NOT_APPLICABLE,
    by_environment,
    cell_lines,
    diagnostic_text,
    notes,
    shown_diagnostics,
    verdict,
    what_was_run,
)

_PAIRS = 6
"""Trade-off panels a comparison: all pairs of up to four rewards, else the first reward with each other."""

_DIRECTIONS = {"better": "higher", "worse": "lower"}
"""Verdict on a difference → where it lies. What is wanted hangs on the quantity."""


@dataclass(frozen=True)
class Head:
    """A column's head."""

    title: str
    lines: tuple[str, ...] = ()
    """Range, relation to a metric."""
    numeric: bool = True
    less_is_better: bool = False


@dataclass(frozen=True)
class Field:
    """A cell of a table of results."""

    text: str
    key: float | None
    """What a column of numbers is sorted by; missing values come last."""
    difference: str = ""
    """To the baseline."""
    direction: str = ""
    """`higher` or `lower` where the difference is more than noise."""
    better: bool = False
    """Whether that direction is the wanted one."""


@dataclass(frozen=True)
class Line:
    """A row of a table of results."""

    label: str
    entry: Entry
    look: Look
    fields: tuple[Field, ...]
    verdict: str
    dominated_by: str


@dataclass(frozen=True)
class Figure:
    """A picture with what to know of it."""

    kind: str
    """`curves`, `differences`, `trade-off` or `diagnostics`."""
    title: str
    note: str
    drawing: Markup


@dataclass(frozen=True)
class Panel:
    """One comparison: its table and its charts."""

    anchor: str
    comparison: Comparison
    what: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    figures: Mapping[str, tuple[Figure, ...]]
    """Kind → figures."""
    highlights: tuple[str, ...]
    """The overview's sentences."""
    setting: Mapping[str, Any]
    """What all rows share, for the curious."""


@dataclass(frozen=True)
class Group:
    """All comparisons of an environment on a track."""

    track: Track
    environment: str
    anchor: str
    panels: tuple[Panel, ...]


def groups(entries: Sequence[Entry], looks: Mapping[str, Look]) -> list[Group]:
    """Everything that is compared, training first.

    Args:
        entries: Entries that no other entry corrects.
        looks: Entry id → look.
    """
    found = []
    for (track, environment), group in by_environment(entries):
        anchor = f"{track}-{environment.replace('/', '-')}"
        panels = [_panel(f"{anchor}-{i}", one, looks) for i, one in enumerate(compare(group), 1)]
        found.append(Group(group[0].track, environment, anchor, tuple(panels)))
    return found


def file_of(entry: Entry) -> str:
    """The entry's file, below the leaderboard's folder."""
    return entry_path(entry, Path()).as_posix()


def _panel(anchor: str, comparison: Comparison, looks: Mapping[str, Look]) -> Panel:
    shown = shown_diagnostics(comparison)
    heads = [Head(title) for title in shown.values()] + [_head(column) for column in comparison.columns]
    return Panel(
        anchor=anchor,
        comparison=comparison,
        what=what_was_run(comparison),
        heads=tuple(heads),
        lines=tuple(_line(row, comparison, list(shown), looks[row.entry.id]) for row in comparison.rows),
        notes=tuple(note for note in notes(comparison) if not note.startswith("Against ")),
        figures={
            kind: tuple(figures)
            for kind, figures in (
                ("differences", _differences(comparison, looks)),
                ("curves", _curves(comparison, looks)),
                ("trade-off", _trade_offs(comparison, looks)),
                ("diagnostics", _diagnostics(comparison, looks)),
            )
        },
        highlights=tuple(_highlights(comparison)),
        setting=setting(comparison.first),
    )


def _head(column: Column) -> Head:
    lines = tuple(text for text in (column.subtitle, column.also) if text)
    return Head(column.title, lines, less_is_better=column.title in SHORTFALL_METRICS)


def _line(row: Row, comparison: Comparison, diagnostics: Iterable[str], look: Look) -> Line:
    results = row.entry.results
    measured = [
        Field(diagnostic_text(row, name), sum(values) / len(values) if values else None)
        for name in diagnostics
        for values in [[result.diagnostics[name] for result in results if name in result.diagnostics]]
    ]
    cells = zip(row.cells, comparison.columns, strict=True)
    dominated = ", ".join(row.dominated_by) if row.entry.track == "training" else ""
    return Line(
        label=row.label,
        entry=row.entry,
        look=look,
        fields=(*measured, *(_field(cell, column) for cell, column in cells)),
        verdict="baseline" if row.label == comparison.baseline else verdict(row, comparison),
        dominated_by=dominated,
    )


def _field(cell: Cell | None, column: Column) -> Field:
    if cell is None:
        return Field(NOT_APPLICABLE, None)
    text, difference = (line.replace("-", "−") for line in cell_lines(cell, column))
    direction = _direction(cell)
    wanted = "lower" if column.title in SHORTFALL_METRICS else "higher"
    return Field(text, cell.estimate.mean, difference, direction, direction == wanted)


def _direction(cell: Cell | None) -> str:
    """`higher` or `lower` than the baseline where that is more than noise, else nothing."""
    return _DIRECTIONS.get(cell.verdict, "") if cell else ""


def _highlights(comparison: Comparison) -> Iterable[str]:
    """What stands out, a sentence a column."""
    if comparison.first.track == "advantage":
        yield from _levels(comparison)
        return
    if comparison.baseline is None:
        yield f"no entry of {BASELINE}, hence no differences"
        return
    everyone = [row.label for row in comparison.rows if row.label != comparison.baseline]
    found = [
        f"{direction} {column.title}: {_listed(labels, everyone)}"
        for index, column in enumerate(comparison.columns)
        for direction in _DIRECTIONS.values()
        if (labels := [row.label for row in comparison.rows if _direction(row.cells[index]) == direction])
    ]
    yield from found or ["no clear difference"]


def _listed(labels: Sequence[str], everyone: Sequence[str]) -> str:
    """Labels one by one, or, where that is shorter, those that are missing."""
    missing = [label for label in everyone if label not in labels]
    if len(missing) >= len(labels) / 2 or len(labels) < 5:
        return ", ".join(labels)
    return f"all {len(labels)} others" if not missing else f"all but {', '.join(missing)}"


def _levels(comparison: Comparison) -> Iterable[str]:
    name = "distinct_levels"
    values = {row.label: row.entry.results[0].diagnostics.get(name) for row in comparison.rows}
    known = {label: value for label, value in values.items() if value is not None}
    if known:
        low, high = min(known.values()), max(known.values())
        fewest, most = ([label for label, value in known.items() if value == end] for end in (low, high))
        yield f"{DIAGNOSTICS[name]}: {low:,.0f} ({', '.join(fewest)})" + (
            f" to {high:,.0f} ({', '.join(most)})" if high > low else ""
        )


def _differences(comparison: Comparison, looks: Mapping[str, Look]) -> Iterable[Figure]:
    for index, column in enumerate(comparison.columns):
        if charts.has_differences([row.cells[index] for row in comparison.rows]):
            note = "less is better" if column.title in SHORTFALL_METRICS else ""
            yield Figure("differences", column.title, note, charts.differences(comparison, index, looks))


def _curves(comparison: Comparison, looks: Mapping[str, Look]) -> Iterable[Figure]:
    if comparison.first.track == "training":
        for reward in comparison.first.environment.rewards:
            gate = f"counts if {reward.gate.on} ≥ {reward.gate.at_least:g}" if reward.gate else ""
            yield Figure("curves", reward.name, gate, charts.curves(comparison, reward, looks))


def _trade_offs(comparison: Comparison, looks: Mapping[str, Look]) -> Iterable[Figure]:
    # The rewards of given replies are the same for all normalizers.
    count = len(comparison.first.environment.rewards) if comparison.first.track == "training" else 0
    pairs = list(combinations(range(count), 2))
    for first, second in pairs if len(pairs) <= _PAIRS else [(0, other) for other in range(1, count)]:
        title = f"{comparison.columns[second].title} against {comparison.columns[first].title}"
        yield Figure("trade-off", title, "", charts.trade_off(comparison, first, second, looks))


def _diagnostics(comparison: Comparison, looks: Mapping[str, Look]) -> Iterable[Figure]:
    for name, title in DIAGNOSTICS.items():
        if any(name in result.diagnostics for row in comparison.rows for result in row.entry.results):
            yield Figure("diagnostics", title, "", charts.diagnostic(comparison, name, looks))
