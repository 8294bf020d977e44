"""What the page shows of entries and comparisons, ready to be laid out: texts, sort keys and charts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from gdpo_bench.core.gaming import GamingCertificate
from gdpo_bench.core.rewards import SHORTFALL_METRICS
from gdpo_bench.leaderboard.compare.alike import setting
from gdpo_bench.leaderboard.compare.board import Cell, Column, Comparison, Row, compare
from gdpo_bench.leaderboard.compare.tuning import tuned_settings
from gdpo_bench.leaderboard.files.schema import Entry, Track
from gdpo_bench.leaderboard.files.store import entry_path
from gdpo_bench.leaderboard.show.page import charts
from gdpo_bench.leaderboard.show.page.findings import Finding, findings, nothing, strength
from gdpo_bench.leaderboard.show.page.gaming import Gaming, gaming_of
from gdpo_bench.leaderboard.show.page.looks import PINNED, Look
from gdpo_bench.leaderboard.show.table import (
    DIAGNOSTICS,
    NOT_APPLICABLE,
    baseline_text,
    by_environment,
    cell_lines,
    diagnostic_text,
    notes,
    shown_diagnostics,
    units,
    what_was_run,
)

SHOWN = 3
"""So many rows of a comparison are shown until a reader asks for more, each in a colour of its own."""
_DRAWN = 40
"""Rows that charts show at most, those that stand out most: more lines hide each other."""
_PAIRS = 6
"""Trade-off panels a comparison: all pairs of up to four rewards, else the first reward with each other."""

_UNMEASURED: Mapping[str, GamingCertificate] = MappingProxyType({})
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
    baseline: str = ""
    """The baseline's mean over the same seeds."""
    direction: str = ""
    """`higher` or `lower` where the difference is more than noise."""
    better: bool = False
    """Whether that direction is the wanted one."""


@dataclass(frozen=True)
class Line:
    """A row of a table of results."""

    label: str
    entry: Entry
    parts: tuple[Entry, ...]
    """The entries that it shows: one, and those that go on with it."""
    look: Look
    fields: tuple[Field, ...]
    units: str
    """How many independent units it is about, and how many runs; empty where nothing was random."""
    pinned: bool
    extra: bool
    """Whether it is shown only to those who ask for more."""
    dominated_by: str


@dataclass(frozen=True)
class Figure:
    """A picture with what to know of it."""

    kind: str
    """`curves`, `differences`, `trade-off`, `diagnostics` or `rates`."""
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
    """Pinned ones first, then those that are shown, then the others by label."""
    notes: tuple[str, ...]
    drawn: int
    """How many of the rows the charts show."""
    figures: Mapping[str, tuple[Figure, ...]]
    """Kind → figures."""
    findings: tuple[Finding, ...]
    nothing: str
    """What to say where there is no finding."""
    setting: Mapping[str, Any]
    """What all rows share, for the curious."""


@dataclass(frozen=True)
class Group:
    """All comparisons of an environment on a track."""

    track: Track
    environment: str
    anchor: str
    panels: tuple[Panel, ...]
    """The fullest first."""
    rates: tuple[Figure, ...]
    """The target over learning rates, a picture for each plan that tests all of its trials."""
    gaming: Gaming | None
    """How far the rewards of the fullest comparison can be gamed, where that was measured."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows of the fullest comparison, and entries in all: the more, the more is known."""
        return len(self.panels[0].lines), sum(len(panel.lines) for panel in self.panels)


def groups(
    entries: Sequence[Entry], looks: Mapping[str, Look], certificates: Mapping[str, GamingCertificate] = _UNMEASURED
) -> list[Group]:
    """Everything that is compared: training before the advantage track, and where most was run first.

    Args:
        entries: Entries that no other entry corrects.
        looks: Entry id → look.
        certificates: Environment id → what gaming earns there.
    """
    found = []
    for (track, environment), group in by_environment(entries):
        anchor = f"{track}-{environment.replace('/', '-')}"
        comparisons = compare(group)
        if not comparisons:
            continue  # all of its entries are of tuning seeds, which are compared with nothing
        panels = [_panel(f"{anchor}-{i}", one, looks) for i, one in enumerate(_fullest_first(comparisons), 1)]
        rates = tuple(
            Figure("rates", one.target, f"plan {one.plan}", charts.rates(one, looks))
            for one in tuned_settings(group)
            if one.all_tested
        )
        gaming = gaming_of(panels[0].comparison.first.environment, certificates)
        found.append(Group(group[0].track, environment, anchor, tuple(panels), rates, gaming))
    fullest = sorted(found, key=lambda group: (group.track != "training", *(-size for size in group.size)))
    return fullest


def _fullest_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """What tells most stands first, the others as they are.

    Most rows, then most runs; of equal ones what was trained longest, what was tuned, and what left the environment as
    it is by default.
    """

    def told(comparison: Comparison) -> tuple[int, int, int, bool, bool]:
        first = comparison.first
        runs = sum(len(row.entry.results) for row in comparison.rows)
        return len(comparison.rows), runs, first.results[0].steps[-1], comparison.tuned, not first.environment.options

    fullest = max(range(len(comparisons)), key=lambda i: told(comparisons[i]))
    return [comparisons[fullest], *comparisons[:fullest], *comparisons[fullest + 1 :]]


def pinned_rows(comparison: Comparison, looks: Mapping[str, Look]) -> list[Row]:
    """The baseline's row and that of each other pinned normalizer: its default configuration, or its first one."""
    found = []
    for place, name in enumerate(PINNED):
        rows = [row for row in comparison.rows if row.entry.normalizer.name == name]
        rows.sort(key=lambda row: (row.label != comparison.baseline, looks[row.entry.id].colour != place))
        found += rows[:1]
    return found


def shown_rows(comparison: Comparison, looks: Mapping[str, Look]) -> list[Row]:
    """The pinned rows and what stands out most beside them, each in a colour of its own; `SHOWN` at most.

    Args:
        comparison: Of either track.
        looks: Entry id → look.
    """
    chosen = pinned_rows(comparison, looks)
    others = [row for row in comparison.rows if row not in chosen]
    for row in sorted(others, key=lambda row: strength(row, comparison), reverse=True):
        if len(chosen) < SHOWN and looks[row.entry.id].colour not in {looks[one.entry.id].colour for one in chosen}:
            chosen.append(row)
    return chosen


def front(panel: Panel, looks: Mapping[str, Look]) -> Panel:
    """A panel with the rows and learning curves alone that are shown until a reader asks for more.

    Args:
        panel: Of any comparison.
        looks: Entry id → look.
    """
    lines = tuple(line for line in panel.lines if not line.extra)
    shown = {line.entry.id for line in lines}
    comparison = panel.comparison
    drawn = replace(comparison, rows=tuple(row for row in comparison.rows if row.entry.id in shown))
    curves = tuple(_curves(drawn, looks, ()))
    return replace(panel, lines=lines, figures={kind: curves if kind == "curves" else () for kind in panel.figures})


def file_of(entry: Entry) -> str:
    """The entry's file, below the leaderboard's folder."""
    return entry_path(entry, Path()).as_posix()


def _panel(anchor: str, comparison: Comparison, looks: Mapping[str, Look]) -> Panel:
    diagnostics = shown_diagnostics(comparison)
    heads = [Head(title) for title in diagnostics.values()] + [_head(column) for column in comparison.columns]
    shown = shown_rows(comparison, looks)
    rows = [*shown, *(row for row in comparison.rows if row not in shown)]
    by_strength = sorted(rows[len(shown) :], key=lambda row: strength(row, comparison), reverse=True)
    drawn = replace(comparison, rows=tuple([*shown, *by_strength][:_DRAWN]))
    extra = {row.entry.id for row in rows[len(shown) :]}
    pinned = {row.entry.id for row in pinned_rows(comparison, looks)}
    return Panel(
        anchor=anchor,
        comparison=comparison,
        what=what_was_run(comparison),
        heads=tuple(heads),
        lines=tuple(
            _line(
                row,
                comparison,
                list(diagnostics),
                looks[row.entry.id],
                pinned=row.entry.id in pinned,
                extra=row.entry.id in extra,
            )
            for row in rows
        ),
        notes=tuple(note for note in notes(comparison) if not note.startswith("Against ")),
        drawn=len(drawn.rows),
        figures={
            kind: tuple(figures)
            for kind, figures in (
                ("differences", _differences(drawn, looks)),
                ("curves", _curves(drawn, looks, extra)),
                ("trade-off", _trade_offs(drawn, looks)),
                ("diagnostics", _diagnostics(drawn, looks)),
            )
        },
        findings=tuple(findings(comparison, looks)),
        nothing=nothing(comparison),
        setting=setting(comparison.first),
    )


def _head(column: Column) -> Head:
    lines = tuple(text for text in (column.subtitle, column.also) if text)
    return Head(column.title, lines, less_is_better=column.title in SHORTFALL_METRICS)


def _line(
    row: Row, comparison: Comparison, diagnostics: Iterable[str], look: Look, *, pinned: bool, extra: bool
) -> Line:
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
        parts=row.parts,
        look=look,
        fields=(*measured, *(_field(cell, column) for cell, column in cells)),
        units=_units(row),
        pinned=pinned,
        extra=extra,
        dominated_by=dominated,
    )


def _units(row: Row) -> str:
    estimates = [cell.estimate for cell in row.cells if cell]
    if not units(row):
        return ""
    what, runs = estimates[0].unit, max(one.runs for one in estimates)
    n = units(row)
    more = f", {runs} runs" if str(runs) != n else ""
    return f"{n} {what}{'' if n == '1' else 's'}{more}"


def _field(cell: Cell | None, column: Column) -> Field:
    if cell is None:
        return Field(NOT_APPLICABLE, None)
    text, difference = (line.replace("-", "−") for line in cell_lines(cell, column))
    direction = _direction(cell)
    wanted = "lower" if column.title in SHORTFALL_METRICS else "higher"
    theirs = baseline_text(cell, column).replace("-", "−")
    return Field(text, cell.estimate.mean, difference, theirs, direction, direction == wanted)


def _direction(cell: Cell | None) -> str:
    """`higher` or `lower` than the baseline where that is more than noise, else nothing."""
    return _DIRECTIONS.get(cell.verdict, "") if cell else ""


def _differences(comparison: Comparison, looks: Mapping[str, Look]) -> Iterable[Figure]:
    for index, column in enumerate(comparison.columns):
        if charts.has_differences([row.cells[index] for row in comparison.rows]):
            note = "less is better" if column.title in SHORTFALL_METRICS else ""
            yield Figure("differences", column.title, note, charts.differences(comparison, index, looks))


def _curves(comparison: Comparison, looks: Mapping[str, Look], extra: Collection[str]) -> Iterable[Figure]:
    if comparison.first.track == "training":
        for reward in comparison.first.environment.rewards:
            gate = f"counts if {reward.gate.on} ≥ {reward.gate.at_least:g}" if reward.gate else ""
            yield Figure("curves", reward.name, gate, charts.curves(comparison, reward, looks, extra))


def _trade_offs(comparison: Comparison, looks: Mapping[str, Look]) -> Iterable[Figure]:
    # The rewards of given replies are the same for all normalizers.
    trained = comparison.first.track == "training"
    rewards = [i for i, column in enumerate(comparison.columns) if column.kind == "reward"] if trained else []
    pairs = list(combinations(rewards, 2))
    for first, second in pairs if len(pairs) <= _PAIRS else [(rewards[0], other) for other in rewards[1:]]:
        title = f"{comparison.columns[second].title} against {comparison.columns[first].title}"
        yield Figure("trade-off", title, "", charts.trade_off(comparison, first, second, looks))


def _diagnostics(comparison: Comparison, looks: Mapping[str, Look]) -> Iterable[Figure]:
    for name, title in DIAGNOSTICS.items():
        if any(name in result.diagnostics for row in comparison.rows for result in row.entry.results):
            yield Figure("diagnostics", title, "", charts.diagnostic(comparison, name, looks))
