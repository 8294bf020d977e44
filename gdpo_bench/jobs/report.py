"""What a finished job leaves behind: entries, a picture, a table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from gdpo_bench.files import write_atomically
from gdpo_bench.jobs.folder import RunFolder
from gdpo_bench.leaderboard import Entry
from gdpo_bench.leaderboard.plots import plot_curves
from gdpo_bench.leaderboard.store import RUN_FOLDER, write_entry
from gdpo_bench.leaderboard.table import render_results

_TABLE_WIDTH = 120


def write_report(entries: Sequence[Entry], folder: RunFolder, console: Console) -> None:
    """Write a job's entries, `curves.png` and `table.txt` into its folder, and show the table.

    Args:
        entries: What was measured; may be empty when all runs failed.
        folder: The job's folder.
        console: Shows the table and where the files are.
    """
    for entry in entries:
        write_entry(entry, folder.path / RUN_FOLDER)
    if not entries:
        return
    table = render_results(entries)
    console.print()
    console.print(table)
    page = Console(width=_TABLE_WIDTH, record=True, quiet=True)
    page.print(table)
    write_atomically(folder.path / "table.txt", page.export_text())
    if any(entry.track == "training" for entry in entries):
        plot_curves(entries, folder.path / "curves.png")
        console.print(f"Learning curves: {folder.path / 'curves.png'}", soft_wrap=True, markup=False)
    console.print(f"Leaderboard entries: {folder.path / RUN_FOLDER}", soft_wrap=True, markup=False)
    submit = shlex.join(["python", "-m", "gdpo_bench.leaderboard", "submit", str(folder.path)])
    console.print(f"File them: {submit}", soft_wrap=True, markup=False, style="dim")
