"""From a simulation's rows to its folder: numbers, picture, tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from gdpo_bench.core.files import write_atomically
from gdpo_bench.worlds.factorial import Factorial
from gdpo_bench.worlds.front import share_of_range
from gdpo_bench.worlds.show import (
    as_json,
    effect_tables,
    front_table,
    plot_effects,
    plot_front,
    rows_as_csv,
)
from gdpo_bench.worlds.simulate import Row
from gdpo_bench.worlds.summary import front_results, fronts, main_effects, means_of


def write_report(design: Factorial, rows: Sequence[Row], left_out: Sequence[str], folder: Path) -> list[Table]:
    """Write `runs.csv`, `summary.json` and a picture.

    Args:
        design: What was run.
        rows: All its rows.
        left_out: Which normalizers take no part where.
        folder: Where the files go.

    Returns:
        Tables to show.

    Raises:
        WriteError: A file cannot be written.
    """
    write_atomically(folder / "runs.csv", rows_as_csv(design, rows))
    if design.front:
        results = front_results(design, rows)
        write_atomically(folder / "summary.json", as_json(design, results, left_out))
        _plot_fronts(design, rows, folder)
        return [front_table(results)]
    effects = main_effects(design, rows)
    write_atomically(folder / "summary.json", as_json(design, effects, left_out))
    plot_effects(design, effects, folder / "effects.png")
    return list(effect_tables(design, effects))


def _plot_fronts(design: Factorial, rows: Sequence[Row], folder: Path) -> None:
    """A picture for each combination of the factors other than the weight."""
    for number, (levels, front, specs) in enumerate(fronts(design)):
        own = [row for row in rows if levels.items() <= row.levels.items()]
        points = {
            normalizer: share_of_range(means_of([row for row in own if row.normalizer == normalizer], specs), specs)
            for normalizer in dict.fromkeys(row.normalizer for row in own)
        }
        name = "front.png" if not levels else f"front-{number}.png"
        plot_front(front, points, [spec.name for spec in specs], folder / name)
