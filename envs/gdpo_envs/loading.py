"""One way to all data sets: by name from the Hugging Face hub, or from a folder of files.

What an environment needs of its data is written down as a `Source`. After the rows are read, both
ways go the same path: the columns are checked, each row becomes what the environment asks for, and
rows that cannot be used are counted and reported.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from gdpo_bench.core import DataError, UnknownNameError

DATA_VARIABLE = "GDPO_BENCH_DATA"
"""Environment variable that names the folder of local data."""

_EXAMPLES = 3
_log = logging.getLogger(__name__)

Row = Mapping[str, Any]
T = TypeVar("T")


class UnusableRowError(ValueError):
    """Raised while a row is converted: it cannot be used, for the reason given."""


@dataclass(frozen=True)
class SplitFiles:
    """Where one split is found."""

    hub: str
    """Its name on the hub."""
    local: str
    """Its files in the data folder, a glob pattern ending in .jsonl, .json (lines) or .parquet."""


@dataclass(frozen=True)
class Source:
    """A data set, pinned to a revision."""

    hub: str
    """Its name on the hub, such as `openai/gsm8k`."""
    revision: str
    """The commit of the hub's repository."""
    splits: Mapping[str, SplitFiles]
    """Our names of the splits, and where they are found."""
    columns: Mapping[str, type]
    """The columns that are needed, with the Python type of their values."""
    config: str | None = None
    """The hub's configuration, where there are several."""


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """What was read of one split."""

    rows: list[T]
    """The rows that can be used, converted, in the order of the source."""
    skipped: int
    """How many rows cannot be used."""
    reasons: tuple[str, ...]
    """Why, for the first of them: `row 17: …`."""
    revision: str
    """What was read: see `revision`."""


def load(source: Source, split: str, convert: Callable[[Row], T], data_dir: str | Path | None = None) -> Loaded[T]:
    """Read one split of a source.

    Args:
        source: The data set.
        split: One of the source's splits.
        convert: Makes of a row what the environment needs; raises `UnusableRowError` where it cannot.
        data_dir: Folder of local data. Without it the folder that `GDPO_BENCH_DATA` names, and
            without that the hub.

    Returns:
        The rows. Those that were skipped are also reported as a warning of the logger.

    Raises:
        DataError: The data are not there, cannot be read, or have other columns than expected.
        UnknownNameError: The source has no such split.
    """
    if split not in source.splits:
        raise UnknownNameError(f"split of {source.hub}", split, source.splits)
    folder = _data_folder(data_dir)
    if folder is None:
        origin = f"{source.hub} ({source.splits[split].hub})"
        found = _read_hub(source, source.splits[split].hub)
    else:
        files = _local_files(source, split, folder)
        origin = ", ".join(map(str, files))
        found = _read_files(files)
    _check_columns(found, source.columns, origin)
    rows: list[T] = []
    reasons: list[str] = []
    for number, row in enumerate(found, start=1):
        try:
            _check_row(row, source.columns, f"{origin}, row {number}")
            rows.append(convert(row))
        except UnusableRowError as error:
            reasons.append(f"row {number}: {error}")
    loaded = Loaded(rows, len(reasons), tuple(reasons[:_EXAMPLES]), revision(source, folder))
    if reasons:
        _log.warning(
            "%s: %d of %d rows cannot be used: %s", origin, len(reasons), len(found), "; ".join(loaded.reasons)
        )
    return loaded


def revision(source: Source, data_dir: str | Path | None = None) -> str:
    """What `load` reads, for the leaderboard: the same text means the same data in all splits.

    Args:
        source: The data set.
        data_dir: As for `load`.

    Returns:
        `openai/gsm8k@<commit>`, or `local:<hash of the files' contents>`.

    Raises:
        DataError: A file is not there or cannot be read.
    """
    folder = _data_folder(data_dir)
    if folder is None:
        return f"{source.hub}@{source.revision}"
    digest = hashlib.sha256()
    for split in sorted(source.splits):
        for file in _local_files(source, split, folder):
            try:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
            except OSError as error:
                raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error
    return f"local:{digest.hexdigest()[:16]}"


def _data_folder(data_dir: str | Path | None) -> Path | None:
    named = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else None


def _local_files(source: Source, split: str, folder: Path) -> list[Path]:
    pattern = source.splits[split].local
    files = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if not files:
        problem = f"has no {pattern}" if folder.is_dir() else "is not a folder"
        raise DataError(
            f"Data of {source.hub}: {folder} {problem}. Put it there, name another folder with --data-dir or "
            f"{DATA_VARIABLE}, or name none to load it from the Hugging Face hub."
        )
    return files


def _read_files(files: list[Path]) -> list[Row]:
    return [row for file in files for row in _read_file(file)]


def _read_file(file: Path) -> list[Row]:
    import datasets  # noqa: PLC0415 (seconds to import)

    # `load_dataset` would report the download to the hub, also for local files; this does not.
    read = datasets.Dataset.from_parquet if file.suffix == ".parquet" else datasets.Dataset.from_json
    # Data of this size need no cache, and one of the user's folder could go stale.
    with _quiet(), tempfile.TemporaryDirectory(prefix="gdpo-bench-") as cache:
        try:
            rows: list[Row] = read(str(file), cache_dir=cache, keep_in_memory=True).to_list()
        except Exception as error:  # pyarrow's, the library's or the system's; all mean the same
            raise DataError(
                f"Cannot read {file} as {file.suffix.lstrip('.')}: {_root_cause(error)}. Is the file complete?"
            ) from error
    return rows


def _read_hub(source: Source, split: str) -> list[Row]:
    import datasets  # noqa: PLC0415 (seconds to import)

    with _quiet():
        try:
            found = datasets.load_dataset(source.hub, source.config, revision=source.revision, split=split)
            rows: list[Row] = found.to_list()
        except Exception as error:  # no network, no such revision, no space; the text says which
            raise DataError(
                f"Cannot load {source.hub} (revision {source.revision}) from the Hugging Face hub: "
                f"{_root_cause(error)}. Go online, or put its files in a folder and name that with --data-dir or "
                f"{DATA_VARIABLE} (expected there: {', '.join(s.local for s in source.splits.values())})."
            ) from error
    return rows


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no log lines beside the error that we raise."""
    import datasets  # noqa: PLC0415 (seconds to import)

    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0].rstrip('.')}" if text else type(error).__name__


def _check_columns(rows: list[Row], columns: Mapping[str, type], origin: str) -> None:
    if not rows:
        raise DataError(f"{origin} holds no rows.")
    for column, kind in columns.items():
        if column not in rows[0]:
            raise DataError(
                f"{origin} has no column {column!r} ({kind.__name__}); its columns are {', '.join(rows[0])}."
            )


def _check_row(row: Row, columns: Mapping[str, type], where: str) -> None:
    for column, kind in columns.items():
        value = row[column]
        if value is None:
            raise UnusableRowError(f"{column!r} is missing")
        if not isinstance(value, kind):
            raise DataError(
                f"{where}: column {column!r} must hold {kind.__name__}; got {type(value).__name__} {value!r:.60}."
            )
