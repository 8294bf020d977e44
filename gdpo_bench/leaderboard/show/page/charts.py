"""The page's charts, as SVG whose colours come from the page's style sheet.

Whatever belongs to an entry is a group with its id, so that filters can hide it. The numbers are those of
the tables: means, intervals and differences of a `Comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

from markupsafe import Markup

from gdpo_bench.leaderboard.compare.board import Cell, Column, Comparison, Row
from gdpo_bench.leaderboard.compare.pooled import PooledView
from gdpo_bench.leaderboard.compare.statistics import Estimate, estimate
from gdpo_bench.leaderboard.compare.tuning import TunedSetting
from gdpo_bench.leaderboard.compare.units import Floats
from gdpo_bench.leaderboard.files.schema import RewardDeclaration, Seed
from gdpo_bench.leaderboard.show.page.looks import Look
from gdpo_bench.leaderboard.show.page.svg import NOTHING, Frame, Scale, marker, number, padded, path, tag
from gdpo_bench.leaderboard.show.series import Series, learning_curve, performance_profile
from gdpo_bench.leaderboard.show.table import DIAGNOSTICS, diagnostic_text, estimate_text

Looks = Mapping[str, Look]
"""Entry id → look."""
_MARGIN = 0.04
_LINE = 24
"""Height of a row of a chart by rows, pixels."""
_GUTTER = 132
"""Width of the labels of a chart by rows, pixels."""
_CHARACTERS = 16
"""That fit into the gutter."""


def curves(comparison: Comparison, reward: RewardDeclaration, looks: Looks, extra: Collection[str] = ()) -> Markup:
    """A reward over training steps: mean over runs, the band from the lowest run to the highest, few runs singly.

    Args:
        comparison: Whose rows are drawn.
        reward: What is drawn of them.
        looks: Entry id → look.
        extra: Ids of entries that are shown only to those who ask for more.
    """
    frame = Frame()
    span = reward.high - reward.low
    last = max(result.steps[-1] for row in comparison.rows for result in row.entry.results)
    x, y = frame.x(0, max(last, 1)), frame.y(reward.low - _MARGIN * span, reward.high + _MARGIN * span)
    drawn = [
        _curve(row, reward.name, looks[row.entry.id], x, y, extra=row.entry.id in extra)
        for row in _baseline_last(comparison)
    ]
    finals = "; ".join(f"{row.label} {learning_curve(row.entry, reward.name).line[-1]:.3g}" for row in comparison.rows)
    return frame.drawing(
        f"Learning curves of {reward.name}",
        f"Mean at the last step: {finals}.",
        frame.y_axis(y),
        frame.x_axis(x, "training step", least=4),
        *drawn,
    )


def _curve(row: Row, reward: str, look: Look, x: Scale, y: Scale, *, extra: bool) -> Markup:
    series = learning_curve(row.entry, reward)
    last, step = series.line[-1], series.across[-1]
    end = marker(look.marker, x(step), y(last), f"{row.label}: {last:.3g} at step {step:.0f}")
    return _series(row, look, *_lines(series, look, x, y), end, extra=extra)


def _lines(series: Series, look: Look, x: Scale, y: Scale, title: str = "") -> list[Markup]:
    """Band, single runs and line, the last on top."""
    across = list(map(x, series.across))
    parts = []
    if series.band is not None:
        low, high = (_along(across, border, y) for border in series.band)
        parts.append(tag("path", d=path(high + low[::-1], close=True), class_="band"))
    parts += [tag("path", d=path(_along(across, run, y)), class_="run") for run in series.runs]
    named = [tag("title", title)] if title else []
    line = path(_along(across, series.line, y))
    return [*parts, tag("path", *named, d=line, class_="line", stroke_dasharray=look.dash or None)]


def rates(setting: TunedSetting, looks: Looks) -> Markup:
    """The target over learning rates, a line a normalizer: means with intervals, filled where tuning chose.

    Args:
        setting: All trials of a plan on one environment, all of them tested.
        looks: Entry id → look.
    """
    tested = setting.outcomes
    frame = Frame(left=46)
    ticks = {math.log10(trial.learning_rate): f"{trial.learning_rate:g}" for trial, _ in tested}
    x = frame.x(*padded(list(ticks), share=0.12))
    ends = [end for _, outcome in tested for end in _ends(outcome.estimate)]
    y = frame.y(*padded(ends))
    lines, told = [], []
    for label in dict.fromkeys(trial.label for trial, _ in tested):
        own = [(trial, outcome) for trial, outcome in tested if trial.label == label]
        look = looks[own[0][1].entry.id]
        points = [(x(math.log10(trial.learning_rate)), y(outcome.estimate.mean)) for trial, outcome in own]
        parts = [tag("path", d=path(points), class_="line", stroke_dasharray=look.dash or None)]
        for (trial, outcome), (across, up) in zip(own, points, strict=True):
            chosen = ", chosen" if trial.chosen else ""
            text = f"{label} at {trial.learning_rate:g}: {estimate_text(outcome.estimate, 2)}{chosen}"
            parts += [
                _whisker(y, across, outcome.estimate, upright=True),
                marker(look.marker, across, up, text, "marker" if trial.chosen else "marker hollow"),
            ]
            told.append(text)
        lines.append(tag("g", *parts, class_=f"c{look.colour}"))
    return frame.drawing(
        f"{setting.target} over learning rates",
        f"{'; '.join(told)}.",
        frame.y_axis(y, setting.target),
        frame.x_axis(x, "learning rate", ticks=ticks),
        *lines,
    )


def differences(comparison: Comparison, index: int, looks: Looks) -> Markup:
    """Paired differences of a column to the baseline with their intervals, one row each.

    Args:
        comparison: With a baseline.
        index: Of the column.
        looks: Entry id → look.
    """
    column = comparison.columns[index]
    found = [
        (row, difference, cell.verdict in ("better", "worse"))
        for row in comparison.rows
        if (cell := row.cells[index]) is not None and (difference := cell.difference) is not None
    ]
    ends = [end for _, difference, _ in found for end in _ends(difference)]
    reach = max(map(abs, ends), default=0.0) * 1.05 or 0.1
    frame = _rows_frame(len(found))
    x = frame.x(-reach, reach)
    zero = tag("path", d=f"M{number(x(0))} {number(frame.top)}V{number(frame.height - frame.bottom)}", class_="zero")
    parts, told = [], []
    for i, (row, difference, sure) in enumerate(found):
        look, y = looks[row.entry.id], _row_y(i)
        text = estimate_text(difference, column.decimals, "+")
        parts.append(
            _series(
                row,
                look,
                _row_label(row, y),
                _whisker(x, y, difference),
                marker(
                    look.marker, x(difference.mean), y, f"{row.label}: {text}", "marker" if sure else "marker hollow"
                ),
            )
        )
        told.append(f"{row.label} {text}{', clear' if sure else ''}")
    title = f"Difference to {comparison.baseline} in {column.title}"
    return frame.drawing(title, f"{'; '.join(told)}.", zero, frame.x_axis(x, f"difference in {column.title}"), *parts)


def trade_off(comparison: Comparison, first: int, second: int, looks: Looks) -> Markup:
    """Final means of two rewards against each other, their intervals, single runs, and the front of the means.

    Args:
        comparison: With at least two rewards.
        first: Index of the column along the horizontal axis.
        second: Index of the column along the vertical axis.
        looks: Entry id → look.
    """
    columns = (comparison.columns[first], comparison.columns[second])
    found = [
        (row, here.estimate, there.estimate)
        for row in comparison.rows
        if (here := row.cells[first]) is not None and (there := row.cells[second]) is not None
    ]
    frame = Frame(height=250, left=62)
    x = frame.x(*_spread([_points(row, columns[0], one) for row, one, _ in found]))
    y = frame.y(*_spread([_points(row, columns[1], other) for row, _, other in found]))
    parts = []
    for row, one, other in found:
        look = looks[row.entry.id]
        across, up = x(one.mean), y(other.mean)
        title = f"{row.label}: {_told(columns[0], one)}, {_told(columns[1], other)}"
        whiskers = _whisker(x, up, one) + _whisker(y, across, other, upright=True)
        parts.append(_series(row, look, _runs(row, columns, x, y), whiskers, marker(look.marker, across, up, title)))
    front = pareto_front([(one.mean, other.mean) for _, one, other in found])
    labels = [row.label for row, one, other in found if (one.mean, other.mean) in front]
    return frame.drawing(
        f"{columns[1].title} against {columns[0].title}",
        f"On the front of the means: {', '.join(labels)}." if labels else "No values.",
        frame.y_axis(y, columns[1].title, least=3),
        frame.x_axis(x, columns[0].title),
        tag("path", d=_stairs(front, x, y), class_="front") if front else NOTHING,
        *parts,
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other point reaches in one coordinate and passes in the other, by the first coordinate."""
    descending = sorted(set(points), reverse=True)
    heights = [float("-inf"), *accumulate((y for _, y in descending), max)]
    return [point for point, highest in zip(descending, heights, strict=False) if point[1] > highest][::-1]


def profiles(view: PooledView, looks: Looks, extra: Collection[str] = ()) -> Markup:
    """Performance profiles: the share of scores above each threshold, with the interval at each by itself.

    Args:
        view: Whose rows are drawn.
        looks: Entry id → look.
        extra: Labels of rows that are shown only to those who ask for more.
    """
    frame = Frame(width=420, height=260, left=62)
    x, y = frame.x(0, 1), frame.y(0, 1.02)
    parts = []
    for row in view.rows:
        look, series = looks[row.entry.id], performance_profile(row)
        middle = len(series.across) // 2
        mark = marker(look.marker, x(series.across[middle]), y(series.line[middle]))
        lines = _lines(series, look, x, y, row.label)
        parts.append(tag("g", *lines, mark, class_=f"c{look.colour}{' extra' if row.label in extra else ''}"))
    return frame.drawing(
        "Performance profiles",
        f"Share of scores above 0.5: {'; '.join(f'{row.label} {row.profile.share[50]:.0%}' for row in view.rows)}.",
        frame.y_axis(y, "share of rewards and runs above τ"),
        frame.x_axis(x, "final reward τ, on [0, 1] by its declared range", least=4),
        *parts,
    )


def diagnostic(comparison: Comparison, name: str, looks: Looks) -> Markup:
    """A diagnostic's mean over runs as bars, with its interval."""
    found = [(row, values) for row in comparison.rows if (values := _measured(row, name))]
    estimates = [estimate(values) for _, values in found]
    frame = _rows_frame(len(found), right=64)
    x = frame.x(0, max((_ends(value)[1] for value in estimates), default=0.0) * 1.02 or 1.0)
    parts, told = [], []
    for i, ((row, _), value) in enumerate(zip(found, estimates, strict=True)):
        look, y, text = looks[row.entry.id], _row_y(i), diagnostic_text(row, name)
        parts.append(
            _series(
                row,
                look,
                _row_label(row, y),
                tag("rect", x=x(0), y=y - 6, width=max(x(value.mean) - x(0), 1.0), height=12.0, class_="bar"),
                _whisker(x, y, value),
                tag("text", text, x=frame.width - 4, y=y + 4, text_anchor="end", class_="value"),
            )
        )
        told.append(f"{row.label} {text}")
    return frame.drawing(DIAGNOSTICS[name], f"{'; '.join(told)}.", frame.x_axis(x, DIAGNOSTICS[name]), *parts)


def _along(across: Sequence[float], values: Sequence[float] | Floats, y: Scale) -> list[tuple[float, float]]:
    """Points at coordinates across and the heights of values."""
    return list(zip(across, map(y, values), strict=True))


def _measured(row: Row, name: str) -> dict[Seed | None, float]:
    return {result.seed: result.diagnostics[name] for result in row.entry.results if name in result.diagnostics}


def _series(row: Row, look: Look, *parts: str, extra: bool = False) -> Markup:
    return tag("g", *parts, class_=f"c{look.colour}{' extra' if extra else ''}", data_entry=row.entry.id)


def _baseline_last(comparison: Comparison) -> list[Row]:
    """What is drawn last lies on top: the rows that stand first, and above all the baseline."""
    last_first = comparison.rows[::-1]
    return sorted(last_first, key=lambda row: row.label == comparison.baseline)


def _rows_frame(count: int, right: float = 12) -> Frame:
    return Frame(height=count * _LINE + 46, left=_GUTTER, right=right, top=4, bottom=38)


def _row_y(i: int) -> float:
    return 4 + (i + 0.5) * _LINE


def _row_label(row: Row, y: float) -> Markup:
    shown = row.label if len(row.label) <= _CHARACTERS else row.label[: _CHARACTERS - 1] + "…"
    return tag("text", tag("title", row.label), shown, x=_GUTTER - 10, y=y + 4, text_anchor="end", class_="row")


def _ends(value: Estimate) -> tuple[float, float]:
    """Of the mean's interval; the mean twice where there is none."""
    return (value.interval.low, value.interval.high) if value.interval else (value.mean, value.mean)


def _whisker(scale: Scale, at: float, value: Estimate, upright: bool = False) -> Markup:
    """The interval of an estimate as a line across, or upright, at a coordinate of the other axis."""
    start, end = map(scale, _ends(value))
    if start == end:
        return NOTHING
    points = [(at, start), (at, end)] if upright else [(start, at), (end, at)]
    return tag("path", d=path(points), class_="whisker")


def _points(row: Row, column: Column, mean: Estimate) -> list[float]:
    return [mean.mean, *column.values(row.entry).values()]


def _spread(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """A range that shows all runs; intervals that leave it are cut at the border."""
    return padded([value for group in groups for value in group] or [0.0, 1.0])


def _runs(row: Row, columns: tuple[Column, Column], x: Scale, y: Scale) -> Markup:
    one, other = (column.values(row.entry) for column in columns)
    dots = [tag("circle", cx=x(one[seed]), cy=y(other[seed]), r=2.0) for seed in one if seed in other]
    return tag("g", *dots, class_="dots") if len(dots) > 1 else NOTHING


def _stairs(front: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """The border of what the front reaches, from the left edge to the bottom."""
    points = [(x.start, y(front[0][1]))]
    for (across, up), (_, following) in zip(front, [*front[1:], (0.0, y.low)], strict=True):
        points += [(x(across), y(up)), (x(across), y(following))]
    return path(points)


def _told(column: Column, value: Estimate) -> str:
    return f"{column.title} {estimate_text(value, column.decimals)}"


def has_differences(cells: Sequence[Cell | None]) -> bool:
    """Whether any cell of a column has a difference to the baseline."""
    return any(cell is not None and cell.difference is not None for cell in cells)
