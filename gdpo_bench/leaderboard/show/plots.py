"""Learning curves, a panel a reward and a row of panels an environment; performance profiles. A colour a normalizer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.files import write_figure
from gdpo_bench.leaderboard.compare.board import Column, Comparison, compare
from gdpo_bench.leaderboard.compare.pooled import PooledView
from gdpo_bench.leaderboard.compare.tuning import tuned_settings
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.show.series import Series, learning_curve, performance_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: distinct also to colour-blind readers. Yellow is left out, too pale for a line.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LineStyle = Literal["-", "--", ":", "-."]
LINES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
"""When the colours run out, and for print without any."""
_MARGIN = 0.06
_PANEL = (3.1, 2.6)
"""Width and height of a panel, inches."""
_LEGEND = 0.6
"""Height of the legend, inches."""


def plot_curves(entries: Sequence[Entry], path: str | PathLike[str]) -> None:
    """Draw every reward's curve for every normalizer as a PNG.

    A line is the mean over runs, the band reaches from the lowest run to the highest, thin lines
    are single runs where they are few.

    Args:
        entries: Entries of the training track. Those of one environment share its rewards.
        path: PNG file to write.

    Raises:
        DataError: There is nothing to draw.
        WriteError: The file could not be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (half a second to import)
    from matplotlib.lines import Line2D  # noqa: PLC0415

    rows = _rows(entries)
    if not rows:
        raise DataError("No learning curves to draw: none of the entries is of the training track.")
    columns = max(len(_curves(comparison)) for _, comparison in rows)
    labels = sorted({row.label for _, comparison in rows for row in comparison.rows})
    styles = {label: _style(i) for i, label in enumerate(labels)}

    # The object interface, not pyplot: no display, no global state.
    width = max(columns, 2) * _PANEL[0]
    figure = Figure(figsize=(width, len(rows) * _PANEL[1] + _LEGEND), dpi=150, layout="constrained")
    heights = [_LEGEND, *[_PANEL[1]] * len(rows)]
    strips = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for strip, (title, comparison) in zip(strips[1:], rows, strict=True):
        strip.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        axes = strip.subplots(1, columns, squeeze=False)[0]
        drawn = _curves(comparison)
        for ax, column in zip(axes, drawn, strict=False):
            _panel(ax, column, _conditions(comparison).get(column.title, ""))
            for row in comparison.rows:
                if column.values(row.entry):
                    _draw(ax, learning_curve(row.entry, column.title), styles[row.label])
        axes[0].set_ylabel("mean over held-out replies", fontsize=9)
        for ax in axes[len(drawn) :]:
            ax.set_axis_off()
    keys = [Line2D([], [], linewidth=2, color=colour, linestyle=line) for colour, line in styles.values()]
    fitting = max(1, int(width * 10 / (max(map(len, labels)) + 8)))
    strips[0].legend(
        keys,
        labels,
        title="line: mean over runs; band: lowest to highest run",
        title_fontproperties={"size": 8},
        loc="center",
        ncols=min(len(labels), fitting),
        frameon=False,
    )
    write_figure(path, figure)


def plot_profiles(views: Sequence[PooledView], path: str | PathLike[str]) -> None:
    """Draw performance profiles as a PNG: a panel a view, for each score the share of scores above it.

    A band is the interval at each threshold by itself.

    Args:
        views: Pooled views, at least one.
        path: PNG file to write.

    Raises:
        WriteError: The file could not be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (half a second to import)

    labels = sorted({row.label for view in views for row in view.rows})
    styles = {label: _style(i) for i, label in enumerate(labels)}
    figure = Figure(figsize=(2 * _PANEL[0], len(views) * 1.4 * _PANEL[1]), dpi=150, layout="constrained")
    for ax, view in zip(figure.subplots(len(views), 1, squeeze=False)[:, 0], views, strict=True):
        for row in view.rows:
            _draw(ax, performance_profile(row), styles[row.label], row.label)
        ax.set_title(f"{view.heading}: {len(view.environments)} environments", loc="left", fontsize=10)
        ax.set_xlabel("final reward τ, on [0, 1] by its declared range", fontsize=9)
        ax.set_ylabel("share of rewards and runs above τ", fontsize=9)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8, loc="lower left")
    write_figure(path, figure)


def plot_tuning(entries: Sequence[Entry], path: str | PathLike[str]) -> None:
    """Draw the target over learning rates as a PNG, a panel an environment: means, and each unit of the test seeds.

    Args:
        entries: Entries of any environments.
        path: PNG file to write.

    Raises:
        DataError: None of the entries was tuned, with all of its trials tested.
        WriteError: The file could not be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (half a second to import)

    settings = [one for one in tuned_settings(entries) if one.all_tested]
    if not settings:
        raise DataError("Nothing to draw: no entry belongs to a plan that tunes, with all of its trials tested.")
    figure = Figure(figsize=(4.6 * len(settings), 3.4), dpi=150, layout="constrained")
    for ax, setting in zip(figure.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
        labels = list(dict.fromkeys(trial.label for trial, _ in setting.outcomes))
        for i, label in enumerate(labels):
            own = [(one, outcome.estimate) for one, outcome in setting.outcomes if one.label == label]
            colour, shift = PALETTE[i % len(PALETTE)], 1.03 ** (i - (len(labels) - 1) / 2)
            rates = np.array([one.learning_rate for one, _ in own]) * shift
            style = LINES[i // len(PALETTE) % len(LINES)]
            ax.plot(rates, [seen.mean for _, seen in own], color=colour, linestyle=style, linewidth=2, label=label)
            for rate, (one, seen) in zip(rates, own, strict=True):
                ax.plot([rate] * seen.n, seen.units, "o", color=colour, markersize=3, alpha=0.5)
                if one.chosen:
                    ax.plot(rate, seen.mean, "o", color=colour, markersize=9, markerfacecolor="none")
        ax.set_xscale("log")
        ax.set_title(setting.environment, loc="left", fontsize=10)
        ax.set_xlabel("learning rate (ring: chosen by the tuning seeds)", fontsize=9)
        ax.set_ylabel(f"{setting.target}, final", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
    write_figure(path, figure)


def _rows(entries: Sequence[Entry]) -> list[tuple[str, Comparison]]:
    """(title, entries that may be compared), each a row of panels."""
    trained = sorted((entry for entry in entries if entry.track == "training"), key=lambda e: e.environment.id)
    rows = []
    for environment, group in groupby(trained, key=lambda entry: entry.environment.id):
        comparisons = compare(list(group))
        rows += [(environment if len(comparisons) == 1 else f"{environment}  {c.heading}", c) for c in comparisons]
    return rows


def _style(i: int) -> tuple[str, LineStyle]:
    """Colour and line style of the i-th normalizer."""
    return PALETTE[i % len(PALETTE)], LINES[i // len(PALETTE) % len(LINES)]


def _curves(comparison: Comparison) -> list[Column]:
    """What has a panel: the primary endpoint and the rewards."""
    return [column for column in comparison.columns if column.kind != "metric"]


def _conditions(comparison: Comparison) -> dict[str, str]:
    """Reward → the condition under which it counts."""
    rewards = comparison.first.environment.rewards
    return {one.name: f"(if {one.gate.on} ≥ {one.gate.at_least:g})" for one in rewards if one.gate}


def _panel(ax: Axes, column: Column, condition: str) -> None:
    """Title, axes and the range of a quantity."""
    low, high = column.bounds
    span = high - low
    ax.set_ylim(low - _MARGIN * span, high + _MARGIN * span)
    for bound in (low, high):
        ax.axhline(bound, color="0.8", linewidth=0.8, zorder=0)
    ax.set_title(column.title, loc="left", fontsize=10)
    ax.set_title(condition, loc="right", fontsize=8, color="0.4")
    ax.set_xlabel("training step", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.locator_params(axis="x", nbins=6, integer=True)
    ax.set_yticks(np.linspace(low, high, 5))
    ax.spines[["top", "right"]].set_visible(False)


def _draw(ax: Axes, series: Series, style: tuple[str, LineStyle], label: str | None = None) -> None:
    colour, line = style
    if series.band is not None:
        ax.fill_between(series.across, *series.band, color=colour, alpha=0.15, linewidth=0)
    ax.plot(series.across, series.runs.T, color=colour, linewidth=0.6, alpha=0.45)
    ax.plot(series.across, series.line, color=colour, linestyle=line, linewidth=2, label=label)
