"""What a job shows on the terminal and keeps beside its runs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gdpo_bench.core.files import write_atomically

_TABLE_WIDTH = 120


def write_suites(suites: Mapping[tuple[str, str], Sequence[Mapping[str, float]]], path: Path, console: Console) -> None:
    """Show and keep what the trained policies reached on other environments.

    Args:
        suites: (suite, what was trained) → reward or metric → value, for each run.
        path: The file to write.
        console: Shows the table.
    """
    table = Table("suite", "trained", "runs", "mean over runs", title="Suites, every held-out task", box=None)
    for (suite, trained), runs in sorted(suites.items()):
        names = dict.fromkeys(name for run in runs for name in run)  # a reward may apply to nothing in some
        means = {name: fmean(run[name] for run in runs if name in run) for name in names}
        table.add_row(
            Text(suite),
            Text(trained),
            str(len(runs)),
            "  ".join(f"{name} {value:.3f}" for name, value in means.items()),
        )
    show_and_keep(table, path, console)


def show_and_keep(table: RenderableType, path: Path, console: Console) -> None:
    """A table on the terminal, and in a file of one width.

    Raises:
        WriteError: The file cannot be written.
    """
    console.print()
    console.print(table)
    page = Console(width=_TABLE_WIDTH, record=True, file=io.StringIO())
    page.print(table)
    write_atomically(path, page.export_text())
