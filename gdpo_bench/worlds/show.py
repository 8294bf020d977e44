"""A simulation as files and for the eye: CSV, JSON, tables of at most 80 columns, a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gdpo_bench.core.files import write_figure
from gdpo_bench.worlds.factorial import Factorial
from gdpo_bench.worlds.simulate import Row
from gdpo_bench.worlds.summary import Count, Effect, FrontResult, Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RATES_ACROSS = 3
"""So many learning rates fit beside each other."""
_MARKERS = "osD^vP*X"
_PANEL = (3.2, 2.6)
"""Width and height, inches."""


def rows_as_csv(design: Factorial, rows: Sequence[Row]) -> str:
    """A line a run: levels, normalizer, learning rate, seed, and what it came to."""
    rewards = list(dict.fromkeys(name for row in rows for name in row.right))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measures = [f"{measure}.{name}" for name in rewards for measure in ("right", "mean")]
    writer.writerow([*design.factors, "normalizer", "learning_rate", "seed", "all_right", "area", *measures])
    for row in rows:
        values = [value for name in rewards for value in (row.right.get(name, ""), row.mean.get(name, ""))]
        levels = [row.levels[factor] for factor in design.factors]
        writer.writerow([*levels, row.normalizer, row.learning_rate, row.seed, row.all_right, row.area, *values])
    return out.getvalue()


def as_json(design: Factorial, results: Sequence[Effect | FrontResult], left_out: Sequence[str]) -> str:
    """The design and what it came to."""
    name = "front" if design.front else "effects"
    content = {
        "design": design.model_dump(mode="json"),
        name: [dataclasses.asdict(result) for result in results],
        "left_out": list(left_out),
    }
    return json.dumps(content, indent=1) + "\n"


def effect_tables(design: Factorial, effects: Sequence[Effect]) -> Iterator[Table]:
    """A table for each factor, and for each three learning rates."""
    for factor in dict.fromkeys(effect.factor for effect in effects):
        for first in range(0, len(design.learning_rates), _RATES_ACROSS):
            rates = design.learning_rates[first : first + _RATES_ACROSS]
            title = f"{factor}: k of n that learned, 95 %; mean right"
            table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
            table.add_column(factor)
            table.add_column("normalizer", overflow="fold")
            for rate in rates:
                table.add_column(f"lr {rate:g}", justify="right")
            table.add_column("mean", justify="right")
            shown: Any = None
            for effect in (effect for effect in effects if effect.factor == factor):
                level = "" if effect.level == shown and table.rows else str(effect.level)
                if level and table.rows:
                    table.add_section()
                shown = effect.level
                counts = [_count(effect.learned[rate]) for rate in rates]
                table.add_row(level, effect.normalizer, *counts, _short(effect.all_right.value))
            yield table


def front_table(results: Sequence[FrontResult]) -> Table:
    """Hypervolume and distance of each normalizer and learning rate."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title="Pareto front, 95 %", title_justify="left")
    apart = any(result.levels for result in results)
    if apart:
        table.add_column("cell", overflow="fold")
    table.add_column("normalizer", overflow="fold")
    for heading in ("lr", "hypervolume", "distance"):
        table.add_column(heading, justify="right")
    for result in results:
        cell = [", ".join(f"{factor}={level}" for factor, level in result.levels.items())] if apart else []
        numbers = (
            f"{result.learning_rate:g}",
            _interval(result.hypervolume),
            _interval(result.distance, digits=3),
        )
        table.add_row(*cell, result.normalizer, *numbers)
    return table


def plot_effects(design: Factorial, effects: Sequence[Effect], path: Path) -> None:
    """Draw who learned at each level: a row of panels a factor, a panel a learning rate, and the mean over all.

    Raises:
        WriteError: The picture cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (half a second to import)

    factors = list(dict.fromkeys(effect.factor for effect in effects))
    columns = len(design.learning_rates) + 1
    figure = Figure(figsize=(columns * _PANEL[0], len(factors) * _PANEL[1] + 0.5), layout="constrained")
    for line, factor in zip(figure.subplots(len(factors), columns, squeeze=False), factors, strict=True):
        own = [effect for effect in effects if effect.factor == factor]
        for axes, rate in zip(line, design.learning_rates, strict=False):
            _panel(axes, own, [_as_share(effect.learned[rate]) for effect in own])
            axes.set_title(f"learned, learning rate {rate:g}", loc="left", fontsize=9)
            axes.set_xlabel(factor, fontsize=9)
        _panel(line[-1], own, [effect.all_right for effect in own])
        line[-1].set_title("all right, over learning rates", loc="left", fontsize=9)
        line[-1].set_xlabel(factor, fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=9)
    write_figure(path, figure)


def plot_front(front: Any, points: dict[str, Any], names: Sequence[str], path: Path) -> None:
    """Draw a Pareto front and where each normalizer's policies lie.

    Args:
        front: Corners (C, 2), as shares of the rewards' ranges.
        points: Normalizer → (N, 2) likewise.
        names: Of the two rewards.
        path: The picture.

    Raises:
        WriteError: The picture cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (half a second to import)

    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(front[:, 0], front[:, 1], color="black", linewidth=1, marker=".", label="front")
    for (normalizer, at), marker in zip(points.items(), _MARKERS * len(points), strict=False):
        axes.plot(at[:, 0], at[:, 1], marker, markersize=4, alpha=0.6, label=normalizer)
    axes.set(xlabel=f"{names[0]}, share of its range", ylabel=f"{names[1]}, share of its range")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    write_figure(path, figure)


def _panel(axes: Axes, effects: Sequence[Effect], values: Sequence[Mean]) -> None:
    """Intervals over levels, a line a normalizer; levels stand side by side, normalizers a little apart."""
    levels = list(dict.fromkeys(str(effect.level) for effect in effects))
    normalizers = list(dict.fromkeys(effect.normalizer for effect in effects))
    for i, (normalizer, marker) in enumerate(zip(normalizers, _MARKERS * len(normalizers), strict=False)):
        own = [
            (effect, value) for effect, value in zip(effects, values, strict=True) if effect.normalizer == normalizer
        ]
        places = [levels.index(str(effect.level)) + (i - (len(normalizers) - 1) / 2) * 0.08 for effect, _ in own]
        spread = [[v.value - v.low for _, v in own], [v.high - v.value for _, v in own]]
        axes.errorbar(
            places, [v.value for _, v in own], spread, marker=marker, markersize=4, linewidth=1, label=normalizer
        )
    axes.set_xticks(range(len(levels)), levels)
    axes.set_ylim(-0.03, 1.03)
    axes.spines[["top", "right"]].set_visible(False)


def _as_share(count: Count) -> Mean:
    return Mean(count.k / count.n, count.low, count.high)


def _count(count: Count) -> str:
    return f"{count.k}/{count.n} {_short(count.low)}–{_short(count.high)}"


def _interval(mean: Mean, digits: int = 2) -> str:
    value, low, high = (_short(number, digits) for number in (mean.value, mean.low, mean.high))
    return f"{value} {low}–{high}"


def _short(share: float, digits: int = 2) -> str:
    """Some digits behind the point, and none before it but for 1."""
    return f"{share:.{digits}f}".removeprefix("0")
