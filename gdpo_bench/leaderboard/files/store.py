"""The board: a folder of entry files, `<track>/<namespace>/<environment>/<id>.json`, each beside its sidecar.

Where an entry lies and what its file looks like follow from the entry alone, so that two people
who file the same result write the same bytes to the same place.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.files import create_atomically, write_atomically
from gdpo_bench.core.reading import FormatError, read_plain
from gdpo_bench.core.text import brief
from gdpo_bench.leaderboard.files.entries import EntryError, entry_text, parse_entry
from gdpo_bench.leaderboard.files.schema import Entry, Track
from gdpo_bench.leaderboard.files.sidecar import Sidecar, read_sidecar, sidecar_path
from gdpo_bench.leaderboard.files.verification import check_follows

ROOT = Path("leaderboards")
"""The board's folder in a checkout."""
SCHEMA_FILE = "schema.json"
"""Name of the exported JSON Schema, the one file of a board that is not an entry."""
RUN_FOLDER = "entries"
"""Where the folder of a run keeps its entries, all side by side."""
LARGEST_ENTRY = 4 << 20
"""Bytes of an entry's or attestation's file at most: some 600 seeds."""
_CORRECTIONS = 100
"""Corrections of one another at most, so that checking one takes no time to speak of."""
ATTESTATION = re.compile(r"(?P<entry>[0-9a-f]{16})\.attested-(?P<hash>[0-9a-f]{16})\.json")
"""Names of files that say that somebody repeated an entry; see `attestation`."""


@dataclass(frozen=True)
class Measured:
    """An entry with the reward vectors that it follows from."""

    entry: Entry
    sidecar: Sidecar | None
    """`None` for an entry of format 1."""


def entry_path(entry: Entry, root: Path) -> Path:
    """Where an entry belongs on the board at `root`."""
    # No colon, which some systems have in no file's name.
    return root / entry.track / entry.environment.id.replace(":", "/") / f"{entry.id}.json"


def entry_files(folder: Path) -> list[Path]:
    """All files under a folder that should be entries, sorted."""
    files = (path for path in folder.rglob("*.json") if not path.name.startswith("."))
    return sorted(path for path in files if path != folder / SCHEMA_FILE and not ATTESTATION.fullmatch(path.name))


def board_of(path: Path) -> Path | None:
    """The board that a file or folder lies on, judged by the names of the folders above it."""
    path = Path(os.path.abspath(path))
    levels = path.parents[2:3] if path.suffix == ".json" else [path, *path.parents][:3]
    return next((level.parent for level in levels if level.name in get_args(Track)), None)


def read_entry(path: Path) -> Entry:
    """Read one entry file.

    Raises:
        EntryError: The file is damaged, altered, contradictory or of a newer format; the message
            begins with its path.
        DataError: There is no such file, or it cannot be read.
    """
    try:
        return parse_entry(read_plain(path, LARGEST_ENTRY))
    except FormatError as error:
        raise EntryError(str(error)) from error
    except EntryError as error:
        raise EntryError(f"{path}: {brief(str(error))}") from error


def read_filed_entry(path: Path, root: Path | None) -> Entry:
    """Read an entry file that must be named rightly and, on a board, lie in the right place.

    Args:
        path: The file.
        root: The board's folder, or `None` where entries lie side by side.

    Raises:
        EntryError: As `read_entry`; or the file is misnamed or misplaced, or it corrects an entry
            that is not there.
        DataError: As `read_entry`.
    """
    entry = read_entry(path)
    expected = path.with_name(f"{entry.id}.json") if root is None else entry_path(entry, root)
    if os.path.abspath(path) != os.path.abspath(expected):
        raise EntryError(f"{path}: Wrong name or place; this entry belongs to {expected}.")
    if root is not None:
        _check_supersedes(entry, expected)
    return entry


def read_measured(path: Path, entry: Entry | None = None) -> Measured:
    """Read an entry file and its sidecar, and check that the one follows from the other.

    Args:
        path: The entry's file; the sidecar lies beside it.
        entry: What was read from it, if it was.

    Raises:
        EntryError: As `read_entry`; or the sidecar is missing or damaged, or the entry does not follow from it.
        DataError: As `read_entry`.
    """
    entry = entry or read_entry(path)
    if entry.sidecar is None:
        return Measured(entry, None)
    sidecar = read_sidecar(sidecar_path(path, entry.id), entry.sidecar)
    try:
        check_follows(entry, sidecar)
    except EntryError as error:
        raise EntryError(f"{path}: {brief(str(error))}") from error
    return Measured(entry, sidecar)


def write_measured(measured: Measured, folder: Path) -> Path:
    """Write an entry and its sidecar into a folder; returns the entry's path.

    Raises:
        WriteError: As `write_entry`.
    """
    entry, sidecar = measured.entry, measured.sidecar
    if sidecar is not None:
        write_atomically(sidecar_path(folder / "entry.json", entry.id), sidecar.compressed)
    return write_entry(entry, folder)


def write_entry(entry: Entry, folder: Path) -> Path:
    """Write an entry as `<id>.json` into a folder; returns the file's path.

    Raises:
        WriteError: The disk is full, and so on; an older file stays as it was.
    """
    path = folder / f"{entry.id}.json"
    write_atomically(path, entry_text(entry))
    return path


@dataclass
class Board:
    """The entries of a folder, and what is wrong with the files that are none."""

    root: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    """Id → entry, sorted by path."""
    problems: list[str] = field(default_factory=list)
    """One message a file, with its path."""

    @classmethod
    def read(cls, root: Path) -> Board:
        """Read all entries under `root`; damaged files become `problems`.

        Raises:
            DataError: There is no such folder.
        """
        if not root.is_dir():
            raise DataError(f"No leaderboard folder {root}; name one with --root.")
        board = cls(root)
        for path in entry_files(root):
            try:
                entry = read_filed_entry(path, root)
            except (EntryError, DataError) as error:
                board.problems.append(str(error))
            else:
                board.entries[entry.id] = entry
        return board

    def current(self) -> list[Entry]:
        """Entries that no other entry corrects."""
        corrected = {entry.supersedes for entry in self.entries.values()}
        return [entry for entry in self.entries.values() if entry.id not in corrected]

    def file(self, entry: Entry, sidecar: Sidecar | None = None) -> Path | None:
        """File an entry; returns where, or `None` if the same result is there already.

        Args:
            entry: The entry.
            sidecar: What it follows from.

        Raises:
            EntryError: It corrects an entry that is not there, or comes without its sidecar.
            WriteError: A file could not be written; then the entry is not there.
        """
        if entry.id in self.entries:
            return None
        path = entry_path(entry, self.root)
        _check_supersedes(entry, path)
        _check_no_link(path, self.root)
        if entry.sidecar != (sidecar and sidecar.sha256):
            raise EntryError(f"Entry {entry.id} cannot be filed without its own sidecar.")
        if sidecar is not None and not path.exists():
            # First, so that no entry is ever seen without; two writers of one id write the same content.
            write_atomically(sidecar_path(path, entry.id), sidecar.compressed)
        filed = create_atomically(path, entry_text(entry))
        self.entries[entry.id] = entry
        return path if filed else None


def find_entry_file(name: str, root: Path) -> Path:
    """The file of an entry.

    Args:
        name: The file, or the first digits of an id on the board.
        root: The board's folder.

    Raises:
        DataError: There is no such entry, or there are several.
        EntryError: It is damaged, misnamed or misplaced.
    """
    if Path(name).is_file():
        return Path(name)
    if not re.fullmatch("[0-9a-f]{4,16}", name):
        raise DataError(f"No entry {name}: expected an entry's file, or at least four digits of its id.")
    if not root.is_dir():
        raise DataError(f"No leaderboard folder {root}; name one with --root.")
    # Files are named by their ids, which reading one checks: a board of thousands is not read to find it.
    found = [path for path in entry_files(root) if path.name.startswith(name)]
    if not found:
        raise DataError(f"No entry under {root} has an id that begins with {name}.")
    if len(found) > 1:
        raise DataError(f"Several ids begin with {name}: {', '.join(path.stem for path in found)}. Give more digits.")
    read_filed_entry(found[0], root)
    return found[0]


def superseding(entry: Entry, board: Board) -> Entry:
    """The entry as the correction of the current one of the same configuration; as it is where there is none.

    Raises:
        EntryError: Several current entries are of that configuration.
    """

    def configuration(one: Entry) -> tuple[object, ...]:
        how = one.normalizer
        options = (one.environment.options, how.live_options, how.weights)
        return (one.track, one.environment.id, how.name, options, one.policy.name, one.plan and one.plan.role)

    def trained_alike(one: Entry) -> bool:
        # In what both say: an older entry may be corrected by one that says more. Other seeds are no other training.
        pairs = [(entry.trained_with(), one.trained_with()), (entry.policy.details, one.policy.details)]
        return all(
            mine[name] == theirs[name]
            for mine, theirs in pairs
            for name in (mine.keys() & theirs.keys()) - {"warm_start_corpus"}
        )

    same = [
        one
        for one in board.current()
        if configuration(one) == configuration(entry) and trained_alike(one) and one.id != entry.id
    ]
    if len(same) > 1:
        raise EntryError(
            f"Entry {entry.id} could supersede any of {', '.join(one.id for one in same)}; set `supersedes` when it "
            "is made."
        )
    return entry.model_copy(update={"supersedes": same[0].id}) if same else entry


def _check_no_link(path: Path, root: Path) -> None:
    """Refuse to write where a link on the board leads."""
    for folder in path.relative_to(root).parents:
        if (root / folder).is_symlink() and root / folder != root:
            raise EntryError(f"{root / folder} is a link; entries are filed in plain folders only.")


def _check_supersedes(entry: Entry, path: Path) -> None:
    """Refuse a correction of nothing, and corrections of each other, after which none would be shown."""
    known, corrected = [entry.id], entry.supersedes
    while corrected is not None:
        file = path.with_name(f"{corrected}.json")
        if len(known) == 1 and not file.is_file():
            raise EntryError(f"{path}: It supersedes {corrected}, which is not in the same folder.")
        known.append(corrected)
        if corrected in known[:-1]:
            raise EntryError(f"{path}: It and others supersede each other in a circle: {' → '.join(known)}.")
        if len(known) > _CORRECTIONS:
            raise EntryError(f"{path}: More than {_CORRECTIONS} corrections of one another; file a new entry instead.")
        corrected = _supersedes(file)


def _supersedes(file: Path) -> str | None:
    """What a file says that it supersedes; whatever else is wrong with it is said where it is read itself."""
    try:
        return read_entry(file).supersedes
    except (EntryError, DataError):
        return None
