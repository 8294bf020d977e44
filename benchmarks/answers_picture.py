"""The picture of the job `answers`: means over learning rates, every warm start as a dot, a ring where tuning chose."""

from __future__ import annotations

from pathlib import Path

from answers import HORIZONS, QUANTITIES, Trials, at_step, learning_rates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from tables import bounds, values

from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard.compare.statistics import estimate
from gdpo_bench.leaderboard.show.plots import PALETTE

_SOURCE = "Entries"
"""Where a picture keeps the hash of the numbers that it was drawn from."""


def draw(found: Trials, path: Path) -> None:
    """Draw each quantity over learning rates, a row of panels a horizon.

    The same numbers give the same picture on one version of Matplotlib, which names their hash.

    Args:
        found: The trials.
        path: PNG file to write, or to delete.
    """
    if not found:
        path.unlink(missing_ok=True)
        return
    figure = Figure(figsize=(3.4 * len(QUANTITIES), 2.7 * len(HORIZONS) + 0.4), layout="constrained")
    for row, step in zip(figure.subplots(len(HORIZONS), len(QUANTITIES), squeeze=False), HORIZONS, strict=True):
        for axes, quantity in zip(row, QUANTITIES, strict=True):
            _panel(axes, found, quantity, step)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110, metadata={_SOURCE: _hash(found)})


def _panel(axes: Axes, found: Trials, quantity: str, step: int) -> None:
    for i, (name, own) in enumerate(found.items()):
        shift = 1.05 ** (i - (len(found) - 1) / 2)
        at = [(one, estimate(values(at_step(entry, step), quantity))) for one, entry in own]
        places = [one.learning_rate * shift for one, _ in at]
        colour = PALETTE[i % len(PALETTE)]
        axes.plot(places, [seen.mean for _, seen in at], color=colour, linewidth=2, label=name)
        for place, (one, seen) in zip(places, at, strict=True):
            axes.plot([place] * seen.n, seen.units, "o", color=colour, markersize=3, alpha=0.5)
            if one.chosen:
                axes.plot(place, seen.mean, "o", color=colour, markersize=9, markerfacecolor="none")
    low, high = bounds(next(iter(found.values()))[0][1], quantity)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set_xscale("log")
    axes.set_xticks(learning_rates(found), [f"{rate:g}" for rate in learning_rates(found)])
    axes.minorticks_off()
    axes.set_title(f"{quantity}, {step} steps", loc="left", fontsize=10)
    axes.set_xlabel("learning rate", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def drawn_from(found: Trials, path: Path) -> bool:
    """Whether a picture was drawn from these numbers; without any there must be none."""
    if not found or not path.is_file():
        return not found and not path.is_file()
    with Image.open(path) as picture:
        return picture.info.get(_SOURCE) == _hash(found)


def _hash(found: Trials) -> str:
    """Of everything that is drawn."""
    numbers = {
        f"{name} at {one.learning_rate:g}, {quantity}, {step}": [
            one.chosen,
            *estimate(values(at_step(entry, step), quantity)).units,
        ]
        for name, own in found.items()
        for one, entry in own
        for quantity in QUANTITIES
        for step in HORIZONS
    }
    return content_hash(numbers)
