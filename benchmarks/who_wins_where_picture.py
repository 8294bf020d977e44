"""The picture of docs/who-wins-where.md: shares that learned and their intervals, a panel a place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from matplotlib.figure import Figure

from gdpo_bench.worlds.summary import Count

_COLOURS = {"grpo": "#D55E00", "gdpo": "#0072B2", "grpo_scaled": "#009E73"}
_OTHERS = "#555555"


class Told(Protocol):
    """What is drawn of an estimator at a place."""

    @property
    def count(self) -> Count:
        """Who learned."""

    @property
    def against(self) -> tuple[int | None, ...]:
        """Against each reference, the first of them GDPO: 0 is a tie."""


def draw(seen: Mapping[tuple[str, str], Told], path: Path) -> None:
    """Draw all counts; filled where an estimator and GDPO are told apart.

    Args:
        seen: (place, estimator) → what is drawn.
        path: PNG file to write.
    """
    places, names = ([*dict.fromkeys(key[i] for key in seen)] for i in (0, 1))
    names.sort(key=lambda name: seen[places[0], name].count.k / seen[places[0], name].count.n)
    figure = Figure(figsize=(1.25 * len(places) + 1.5, 0.19 * len(names) + 1), layout="constrained")
    for axes, place in zip(figure.subplots(1, len(places), sharey=True, squeeze=False)[0], places, strict=True):
        for y, name in enumerate(names):
            one = seen.get((place, name))
            if one is None:
                continue
            colour = _COLOURS.get(name, _OTHERS)
            axes.plot([one.count.low, one.count.high], [y, y], color=colour, linewidth=1)
            face = colour if one.against[0] else "white"
            axes.plot(one.count.k / one.count.n, y, "o", color=colour, markersize=4, markerfacecolor=face)
        axes.set_title(place, loc="left", fontsize=8)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.5, 1], ["0", "½", "1"], fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.grid(axis="y", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
