"""The leaderboard's command line: check entries, file them, and regenerate the table.

python -m gdpo_bench.leaderboard submit runs/my-run
python -m gdpo_bench.leaderboard validate
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import tyro
from tyro.extras import SubcommandApp

from gdpo_bench.cli.exits import run_cli
from gdpo_bench.cli.help import add_commands
from gdpo_bench.cli.repeat import recompute, reproduce
from gdpo_bench.cli.terminal import make_console, say
from gdpo_bench.cli.words import said_once
from gdpo_bench.core.errors import DataError, GdpoBenchError
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.gaming import GamingCertificate, read_certificate
from gdpo_bench.leaderboard.compare.pair import compare_pair
from gdpo_bench.leaderboard.compare.pooled import pool
from gdpo_bench.leaderboard.files.all_right import completed, completed_from
from gdpo_bench.leaderboard.files.attestation import Attestation, attestation_problems, read_attestations
from gdpo_bench.leaderboard.files.entries import EntryError
from gdpo_bench.leaderboard.files.history import broken_promises, committed_files, unchanged_files
from gdpo_bench.leaderboard.files.legible import legible
from gdpo_bench.leaderboard.files.plans import check_extension
from gdpo_bench.leaderboard.files.schema import Entry, Track, json_schema_text
from gdpo_bench.leaderboard.files.sidecar import sidecar_path
from gdpo_bench.leaderboard.files.store import (
    ROOT,
    RUN_FOLDER,
    SCHEMA_FILE,
    Board,
    Measured,
    board_of,
    entry_files,
    entry_path,
    find_entry_file,
    read_entry,
    read_filed_entry,
    read_measured,
    superseding,
)
from gdpo_bench.leaderboard.show.export import export
from gdpo_bench.leaderboard.show.page import render_site
from gdpo_bench.leaderboard.show.pair import render_pair
from gdpo_bench.leaderboard.show.plots import plot_profiles
from gdpo_bench.leaderboard.show.pooled_table import render_pooled
from gdpo_bench.leaderboard.show.showable import unshowable
from gdpo_bench.leaderboard.show.table import render_markdown

TABLE_FILE = "README.md"
_OLD_FORMAT = (
    "An entry of format 1, which comes without the reward vectors behind it, is no longer taken. Run it again."
)
_NEIGHBOURS = 20
"""Entries of a folder that new ones are shown together with, for a trial."""
_HELP = "Check leaderboard entries, file them, and regenerate the table."


def validate(
    paths: tyro.conf.Positional[tuple[Path, ...]] = (ROOT,), base: str | None = None, everything: bool = False
) -> int:
    """Check entries: format, numbers, and that none has changed.

    Args:
        paths: Entry files, folders of a run, or a leaderboard or part of one.
        base: Commit since which no entry of a leaderboard may have changed: in CI the branch that is merged into.
            What is as it was there has been checked there, and is not read. If absent, everything is read, and
            compared with the last commit.
        everything: Read also what is as it was at `base`: after a change of gdpo-bench itself.

    Returns:
        1 if there are problems, else 0.

    Raises:
        DataError: A folder holds no entry: a check of nothing says nothing.
    """
    old, kept, problems = 0, 0, []
    shown: dict[Path, Entry] = {}
    attestations: dict[str, list[Attestation]] = {}
    for path in paths:
        is_run = (path / RUN_FOLDER).is_dir() or path.name == RUN_FOLDER
        root = board_of(path) or (path if path.is_dir() and not is_run else None)
        files = _entries_below(path, required=True)
        on_board = root is not None and path.is_dir()
        committed = committed_files(path, base or "HEAD") if on_board else None
        unread = unchanged_files(path, base) if on_board and base and not everything else None
        to_read = files if unread is None else [file for file in files if not _as_it_was(file, unread)]
        kept += len(files) - len(to_read)
        for file in to_read:
            try:
                entry = read_measured(file, read_filed_entry(file, root)).entry
            except GdpoBenchError as error:
                problems.append(str(error))
                continue
            if entry.sidecar is None and committed is not None and file not in committed:
                problems.append(f"{file}: {_OLD_FORMAT}")
            shown[file] = entry
            old += entry.sidecar is None
        if on_board:
            wrong = attestation_problems(path, unread or ())
            problems += wrong
            attestations |= {} if wrong else read_attestations(path, unread or ())
            changed = broken_promises(path, base or "HEAD")
            if changed is None:
                say(f"{path} is in no git checkout: whether an entry was changed or deleted cannot be seen.")
            problems += changed or []
    problems += unshowable(shown | _neighbours(shown), attestations)
    for problem in problems:
        say(problem, file=sys.stderr)
    if old:
        told = _count(old, "entry of format 1 has", "entries of format 1 have")
        say(f"{told} no sidecar: whether the statistics follow from the rewards cannot be checked.")
    if kept:
        say(f"{_count(kept, 'entry is', 'entries are')} as at {base}, and not read again (--everything reads them).")
    say(f"{_count(len(shown), 'valid entry', 'valid entries')}, {_count(len(problems), 'problem', 'problems')}.")
    return 1 if problems else 0


def table(root: Path = ROOT, check: bool = False) -> int:
    """Write the leaderboard's README.md from its entries.

    Args:
        root: The leaderboard's folder.
        check: Write nothing; fail if the table would change.

    Returns:
        1 if `check` found a difference, else 0.

    Raises:
        DataError: There is no such folder; or, with `check`, no entry in it.
    """
    file = root / TABLE_FILE
    seen = _names(root)
    text = _render(root)
    if check:
        _entries_below(root, required=True)
    if file.is_file() and file.read_bytes() == text.encode():
        say(f"{file} is up to date.")
        return 0
    if check:
        say(f"{file} does not follow from the entries. Run: python -m gdpo_bench.leaderboard table", file=sys.stderr)
        return 1
    write_atomically(file, text)
    # An entry that somebody filed meanwhile belongs into the table, whoever wrote that last.
    while (now := _names(root)) != seen:
        seen = now
        write_atomically(file, _render(root))
    say(f"Wrote {file}.")
    return 0


def html(out: Path, root: Path = ROOT) -> None:
    """Write the leaderboard as a page with tables and charts.

    Args:
        out: The page's file, such as `leaderboard.html`; with more than some hundred entries, details lie beside it.
        root: The leaderboard's folder.

    Raises:
        EntryError: The board is damaged. Nothing was written.
        WriteError: The file could not be written.
    """
    board = Board.read(root)
    _refuse_damaged(board)
    attestations = read_attestations(root)
    try:
        with make_console().status(f"Drawing {_count(len(board.entries), 'entry', 'entries')} …"):
            shown = legible(_completed(board, board.entries.values()))
            files = render_site(shown, legible(attestations), out.name, _certificates(shown))
    except Exception:  # whatever an entry stops it with is said with the entry's name
        _refuse_unshowable(board, attestations)
        raise
    for name, text in files.items():  # the page last, so that it never leads to what is not there
        write_atomically(out.parent / name, text)
    beside = [out.parent / name for name in files if name != out.name]
    say(f"Wrote {out}" + (f" and {len(beside):,} files in {beside[0].parent}." if beside else "."))


def submit(paths: tyro.conf.Positional[tuple[Path, ...]], root: Path = ROOT, supersede: bool = False) -> int:
    """Check entries, file them on the leaderboard, write its table.

    Args:
        paths: Entry files, or folders of runs (whose entries lie in `entries/`).
        root: The leaderboard's folder; created if missing.
        supersede: Each takes the place of the current entry of the same normalizer, environment, policy and training.

    Returns:
        0; entries that are on the board already are no error.

    Raises:
        EntryError: An entry is invalid, or the board is damaged. Nothing was filed.
        DataError: No path is given, or one does not exist or holds no entries. Nothing was filed.
        WriteError: The disk is full, and so on. What was filed before is whole; submit again to file the rest.
    """
    if not paths:
        raise DataError("Nothing to submit; name entry files or the folders of runs.")
    files = {file: read_entry(file) for path in paths for file in _entries_below(path, required=True)}
    board = Board.read(root) if root.exists() else Board(root)
    _refuse_damaged(board)
    measured = []
    for file, entry in files.items():
        if entry.sidecar is None and entry.id not in board.entries:
            raise EntryError(f"{file}: {_OLD_FORMAT}")
        found = read_measured(file, entry)
        measured.append(found if not supersede else Measured(superseding(entry, board), found.sidecar))
    for one in measured:
        check_extension(one.entry, board)
    new = {file: one.entry for file, one in zip(files, measured, strict=True)}
    known = {entry_path(entry, root): entry for entry in board.entries.values()}
    if problems := unshowable(known | new):
        raise EntryError("Nothing was filed:\n" + "\n".join(problems))
    for one in sorted(measured, key=lambda one: one.entry.supersedes is not None):
        path = board.file(one.entry, one.sidecar)
        what = f"{one.entry.normalizer.name} on {one.entry.environment.id}"
        say(f"Filed {what}: {path}" if path else f"On the board already, same numbers: {what} ({one.entry.id})")
    return table(root)


def compare(
    first: tyro.conf.Positional[str],
    second: tyro.conf.Positional[str],
    root: Path = ROOT,
    anyway: bool = False,
) -> None:
    """Compare two entries, reward by reward.

    Args:
        first: An entry: its file, or the first digits of its id.
        second: The entry that it is compared with.
        root: The leaderboard's folder, for ids.
        anyway: Compare also what was not run alike, and say so.

    Raises:
        DataError: There is no such entry, or the two differ in more than the normalizer.
    """
    make_console().print(render_pair(compare_pair(_find(first, root), _find(second, root), anyway)))


def profile(root: Path = ROOT, track: Track = "training", out: Path | None = None) -> None:
    """Pool all environments of a track, as a table and a picture.

    Args:
        root: The leaderboard's folder, or that of a run.
        track: Track to pool.
        out: PNG file for the performance profiles; no picture if absent.

    Raises:
        DataError: Fewer than two environments were run alike.
    """
    views = pool(_current(root), track)
    make_console().print(render_pooled(views))
    if out:
        plot_profiles(views, out)
        say(f"Wrote {out}.")


def schema(root: Path = ROOT) -> None:
    """Write the JSON Schema of entries.

    Args:
        root: Folder for `schema.json`.
    """
    write_atomically(root / SCHEMA_FILE, json_schema_text())
    say(f"Wrote {root / SCHEMA_FILE}.")


def build_app() -> SubcommandApp:
    """The subcommands, to run or to mount under another command."""
    app = SubcommandApp()
    add_commands(app, validate, table, compare, profile, html, submit, recompute, reproduce, export, schema)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        arguments: Without the program's name; those of this process if absent.
    """
    return run_cli(
        lambda: build_app().cli(prog="python -m gdpo_bench.leaderboard", args=said_once(arguments), description=__doc__)
    )


def _entries_below(path: Path, required: bool = False) -> list[Path]:
    if not path.is_dir():
        return [path]
    folder = path / RUN_FOLDER
    files = entry_files(folder if folder.is_dir() else path)
    if required and not files:
        raise DataError(f"No entries in {path}; the folder of a finished run holds them in {RUN_FOLDER}/.")
    return files


def _as_it_was(file: Path, unchanged: Collection[Path]) -> bool:
    """Whether an entry and its sidecar are unchanged; where a sidecar is gone, `broken_promises` says so."""
    sidecar = sidecar_path(file, file.stem)
    return file in unchanged and (sidecar in unchanged or not sidecar.exists())


def _neighbours(shown: Mapping[Path, Entry]) -> dict[Path, Entry]:
    """Some entries beside new ones that were not read: what is new must be showable among others."""
    found: dict[Path, Entry] = {}
    for folder in {file.parent for file in shown}:
        for file in [file for file in entry_files(folder) if file not in shown][:_NEIGHBOURS]:
            with contextlib.suppress(GdpoBenchError):  # what is wrong with it is no fault of the new ones
                found[file] = read_entry(file)
    return found


def _find(name: str, root: Path) -> Entry:
    """The entry in a file, or the one on the board whose id begins so."""
    file = find_entry_file(name, root)
    return legible(completed(read_measured(file)))


def _current(root: Path) -> list[Entry]:
    """Valid entries of a board or of a run that no other entry corrects."""
    if (root / RUN_FOLDER).is_dir():
        return [legible(completed(read_measured(file))) for file in _entries_below(root, required=True)]
    board = Board.read(root)
    _refuse_damaged(board)
    return legible(_completed(board, board.current()))


def _names(root: Path) -> set[Path]:
    """Entries and attestations, which never change, by their files."""
    return set(root.rglob("*.json"))


def _render(root: Path) -> str:
    board = Board.read(root)
    _refuse_damaged(board)
    attestations = read_attestations(root)
    try:
        return render_markdown(legible(_completed(board, board.current())), attestations=attestations)
    except Exception:  # whatever an entry stops it with is said with the entry's name
        _refuse_unshowable(board, attestations)
        raise


def _completed(board: Board, entries: Iterable[Entry]) -> list[Entry]:
    """Entries of a board with what follows from their sidecars."""
    return [completed_from(entry, board.root) for entry in entries]


def _certificates(entries: Iterable[Entry]) -> dict[str, GamingCertificate]:
    """What gaming earns in the entries' environments, where these are known here and it was measured."""
    ids = {entry.environment.id for entry in entries}
    return {id: found for id in sorted(ids) if (found := read_certificate(id)) is not None}


def _refuse_damaged(board: Board) -> None:
    if problems := [*board.problems, *attestation_problems(board.root)]:
        raise EntryError("The leaderboard has damaged files; mend them first.\n" + "\n".join(problems))


def _refuse_unshowable(board: Board, attestations: Mapping[str, Sequence[Attestation]]) -> None:
    if problems := unshowable({entry_path(one, board.root): one for one in board.entries.values()}, attestations):
        raise EntryError("\n".join(problems))


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
