"""The leaderboard's command line: check entries, file them, and regenerate the table.

python -m gdpo_bench.leaderboard submit runs/my-run
python -m gdpo_bench.leaderboard validate
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from tyro.extras import SubcommandApp

from gdpo_bench.cli_errors import run_cli
from gdpo_bench.core.errors import DataError, GdpoBenchError
from gdpo_bench.files import write_atomically
from gdpo_bench.leaderboard.entries import EntryError
from gdpo_bench.leaderboard.schema import json_schema_text
from gdpo_bench.leaderboard.store import (
    RUN_FOLDER,
    SCHEMA_FILE,
    Board,
    board_of,
    entry_files,
    read_entry,
    read_filed_entry,
)
from gdpo_bench.leaderboard.table import render_markdown

ROOT = Path("leaderboards")
TABLE_FILE = "README.md"
_HELP = "Check leaderboard entries, file them, and regenerate the table."


def validate(paths: tyro.conf.Positional[tuple[Path, ...]] = (ROOT,)) -> int:
    """Check entry files: format, id, numbers, name and place.

    Args:
        paths: Entry files, folders of a run, or a leaderboard or part of one.

    Returns:
        1 if there are problems, else 0.
    """
    fine, problems = 0, []
    for path in paths:
        is_run = (path / RUN_FOLDER).is_dir() or path.name == RUN_FOLDER
        root = board_of(path) or (path if path.is_dir() and not is_run else None)
        for file in _entries_below(path):
            try:
                read_filed_entry(file, root)
            except GdpoBenchError as error:
                problems.append(str(error))
            else:
                fine += 1
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{_count(fine, 'valid entry', 'valid entries')}, {_count(len(problems), 'problem', 'problems')}.")
    return 1 if problems else 0


def table(root: Path = ROOT, check: bool = False) -> int:
    """Regenerate the leaderboard's README.md from its entries.

    Args:
        root: The leaderboard's folder.
        check: Write nothing; fail if the table would change.

    Returns:
        1 if `check` found a difference, else 0.
    """
    file = root / TABLE_FILE
    text = _render(root)
    if file.is_file() and file.read_bytes() == text.encode():
        print(f"{file} is up to date.")
        return 0
    if check:
        print(f"{file} does not follow from the entries. Run: python -m gdpo_bench.leaderboard table", file=sys.stderr)
        return 1
    write_atomically(file, text)
    # An entry that somebody filed meanwhile belongs into the table, whoever wrote that last.
    while (newer := _render(root)) != text:
        text = newer
        write_atomically(file, text)
    print(f"Wrote {file}.")
    return 0


def submit(paths: tyro.conf.Positional[tuple[Path, ...]], root: Path = ROOT) -> int:
    """Check entries, file them on the leaderboard, and regenerate its table.

    Args:
        paths: Entry files, or folders of runs (whose entries lie in `entries/`).
        root: The leaderboard's folder; created if missing.

    Returns:
        0; entries that are on the board already are no error.

    Raises:
        EntryError: An entry is invalid, or the board is damaged. Nothing was filed.
        DataError: No path is given, or one does not exist or holds no entries. Nothing was filed.
    """
    if not paths:
        raise DataError("Nothing to submit; name entry files or the folders of runs.")
    entries = [read_entry(file) for path in paths for file in _entries_below(path, required=True)]
    board = Board.read(root) if root.exists() else Board(root)
    _refuse_damaged(board)
    for entry in sorted(entries, key=lambda entry: entry.supersedes is not None):
        path = board.file(entry)
        what = f"{entry.normalizer.name} on {entry.environment.id}"
        print(f"Filed {what}: {path}" if path else f"On the board already, same numbers: {what} ({entry.id})")
    return table(root)


def schema(root: Path = ROOT) -> None:
    """Write the JSON Schema of entries.

    Args:
        root: Folder for `schema.json`.
    """
    write_atomically(root / SCHEMA_FILE, json_schema_text())
    print(f"Wrote {root / SCHEMA_FILE}.")


def build_app() -> SubcommandApp:
    """The subcommands, to run or to mount under another command."""
    app = SubcommandApp()
    for command in (validate, table, submit, schema):
        app.command(command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        arguments: Without the program's name; those of this process if absent.
    """
    return run_cli(
        lambda: build_app().cli(prog="python -m gdpo_bench.leaderboard", args=arguments, description=__doc__)
    )


def _entries_below(path: Path, required: bool = False) -> list[Path]:
    if not path.is_dir():
        return [path]
    folder = path / RUN_FOLDER
    files = entry_files(folder if folder.is_dir() else path)
    if required and not files:
        raise DataError(f"No entries in {path}; the folder of a finished run holds them in {RUN_FOLDER}/.")
    return files


def _render(root: Path) -> str:
    board = Board.read(root)
    _refuse_damaged(board)
    return render_markdown(board.current())


def _refuse_damaged(board: Board) -> None:
    if board.problems:
        raise EntryError("The leaderboard has damaged files; mend them first.\n" + "\n".join(board.problems))


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
