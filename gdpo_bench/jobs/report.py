"""What a finished job leaves behind: entries, a picture, a table."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console, RenderableType
from rich.table import Table

from gdpo_bench.files import write_atomically
from gdpo_bench.jobs.folder import RunFolder
from gdpo_bench.leaderboard.plots import plot_curves
from gdpo_bench.leaderboard.store import RUN_FOLDER, Measured, write_measured
from gdpo_bench.leaderboard.table import render_results

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
        table.add_row(suite, trained, str(len(runs)), "  ".join(f"{name} {value:.3f}" for name, value in means.items()))
    _show(table, path, console)


def _show(table: RenderableType, path: Path, console: Console) -> None:
    """On the terminal, and in a file of one width."""
    console.print()
    console.print(table)
    page = Console(width=_TABLE_WIDTH, record=True, file=io.StringIO())
    page.print(table)
    write_atomically(path, page.export_text())


def write_report(measured: Sequence[Measured], folder: RunFolder, console: Console) -> None:
    """Write a job's entries, `curves.png` and `table.txt` into its folder, and show the table.

    Args:
        measured: Entries with their sidecars; may be empty when all runs failed.
        folder: The job's folder.
        console: Shows the table and where the files are.
    """
    entries = [one.entry for one in measured]
    for one in measured:
        write_measured(one, folder.path / RUN_FOLDER)
    if not entries:
        return
    _show(render_results(entries), folder.path / "table.txt", console)
    if any(entry.track == "training" for entry in entries):
        plot_curves(entries, folder.path / "curves.png")
        console.print(f"Learning curves: {folder.path / 'curves.png'}", soft_wrap=True, markup=False)
    console.print(f"Leaderboard entries: {folder.path / RUN_FOLDER}", soft_wrap=True, markup=False)
    submit = shlex.join(["python", "-m", "gdpo_bench.leaderboard", "submit", str(folder.path)])
    console.print(f"File them: {submit}", soft_wrap=True, markup=False, style="dim")
