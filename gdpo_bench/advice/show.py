"""Advice as a table, sentences, a picture, and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdpo_bench.advice.advise import Advice, RewardAdvice
from gdpo_bench.advice.predictor import LEARNED
from gdpo_bench.core.files import write_figure
from gdpo_bench.core.text import printable

_COLOURS = {"learned": "green", "silenced": "red", "open": "yellow"}
_DRAWN = _COLOURS | {"open": "orange"}
"""Yellow cannot be seen on white."""
NOTE = (
    "A number is the probability that a normalizer learns a reward, that is half of what is missing of it, within the "
    "horizon of docs/advise.md, with its 95 % interval. In colour where the interval lies on one side of one half."
)


def as_json(advice: Advice) -> dict[str, Any]:
    """Reward → normalizer → ρ, and the probability that the reward is learned, with its interval."""
    return {
        "rewards": {
            name: {
                normalizer: {"rho": one.rho, "learned": one.learned, "low": one.low, "high": one.high}
                for normalizer, one in reward.outlooks.items()
            }
            for name, reward in advice.rewards.items()
        }
    }


def as_text(advice: Advice) -> RenderableType:
    """A table of normalizers by rewards, and what would help."""
    table = Table("normalizer", box=None, padding=(0, 2, 0, 0))
    for name, reward in advice.rewards.items():
        table.add_column(Text(f"{printable(name)}\n{reward.mean:.0%} had, varies in {reward.informative:.0%}"))
    shown = advice.rewards.values()
    for normalizer in next(iter(shown)).outlooks:
        table.add_row(Text(normalizer), *(_cell(reward, normalizer) for reward in shown))
    sentences = [Text(printable(text)) for reward in advice.rewards.values() for text in (*reward.sentences, "")]
    left_out = [Text(f"Left out: {name}. {printable(reason)}") for name, reason in advice.left_out.items()]
    return Group(table, Text(NOTE, style="dim"), Text(), *sentences, *left_out)


def _cell(reward: RewardAdvice, normalizer: str) -> Text:
    if reward.had:
        return Text("had already")
    outlook = reward.outlooks[normalizer]
    return Text(f"{outlook.learned:.2f} ({outlook.low:.2f}–{outlook.high:.2f})", style=_COLOURS[outlook.verdict])


def plot(advice: Advice, path: Path) -> None:
    """Draw a panel for each reward: normalizers, and how probably each learns it."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

    panels = {name: reward.outlooks for name, reward in advice.rewards.items() if not reward.had}
    if not panels:
        return
    normalizers = list(next(iter(panels.values())))
    figure = Figure(figsize=(1.8 + 2.6 * len(panels), 1 + 0.24 * len(normalizers)), layout="constrained")
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    places = np.arange(len(normalizers))
    for axes, (name, outlooks) in zip(columns, panels.items(), strict=True):
        found = [outlooks[normalizer] for normalizer in normalizers]
        axes.hlines(places, [one.low for one in found], [one.high for one in found], color="grey", linewidth=1)
        colours = [_DRAWN[one.verdict] for one in found]
        axes.scatter([one.learned for one in found], places, c=colours, zorder=2)
        axes.axvline(LEARNED, color="black", linewidth=0.6, linestyle=":")
        axes.set_xlim(-0.03, 1.03)
        axes.set_title(printable(name), parse_math=False)
        axes.set_xlabel("probability of being learned")
    columns[0].set_yticks(places, normalizers)
    columns[0].invert_yaxis()
    write_figure(path, figure)
