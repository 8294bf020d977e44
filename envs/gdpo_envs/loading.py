"""One way to all data sets: by name from the Hugging Face hub, or from a folder of files.

What an environment needs of its data is written down as a `Source`. After the rows are read, both
ways go the same path: the columns are checked, each row becomes what the environment asks for, and
rows that cannot be used are counted and reported.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import logging
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

from gdpo_bench.core import DataError, UnknownNameError, content_hash
from gdpo_bench.core.foreign import described
from gdpo_bench.core.hub import give_up_where_there_is_no_hub

DATA_VARIABLE = "GDPO_BENCH_DATA"
"""Environment variable that names the folder of local data."""

_EXAMPLES = 3
_BEGINNING = 1 << 16
"""Bytes of a file after which it holds more than white space."""
_PATIENCE = 60
"""Seconds without an answer after which a download fails."""
_log = logging.getLogger(__name__)

Row = Mapping[str, Any]
T = TypeVar("T")


class UnusableRowError(ValueError):
    """Raised while a row is converted: it cannot be used, for the reason given."""


@dataclass(frozen=True)
class SplitFiles:
    """Where one split is found."""

    hub: str
    """Its name on the hub, the name of a .jsonl or .parquet file in the repository, or a file's URL."""
    local: str | tuple[str, ...]
    """Its files in the data folder: a glob pattern ending in .jsonl, .json (lines or one list), either
    with .gz, or .parquet; or one ending in / for folders that are a row each, the text of every
    file in it under the file's name without ending. Of several patterns the first that finds
    anything counts."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """The local patterns."""
        return (self.local,) if isinstance(self.local, str) else self.local


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
    other_columns: tuple[Mapping[str, type], ...] = ()
    """Columns that will do in place of `columns`, for data that are around in several layouts."""
    lines: bool = False
    """The files are texts, and a row is a line, under `text`: for JSON that no table can hold."""
    streaming: bool = False
    """Read row by row, and of the hub's files only those of the split: for large data."""


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


def load(
    source: Source,
    split: str,
    convert: Callable[[Row], T | None],
    data_dir: str | Path | None = None,
    at_most: int | None = None,
) -> Loaded[T]:
    """Read one split of a source.

    Args:
        source: The data set.
        split: One of the source's splits.
        convert: Makes of a row what the environment needs; raises `UnusableRowError` where it cannot,
            and returns None for a row that is not meant, such as one of another subject.
        data_dir: Folder of local data. Without it the folder that `GDPO_BENCH_DATA` names, and
            without that the hub.
        at_most: Stop after so many usable rows.

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
        origin = ", ".join(map(str, files[:_EXAMPLES])) + (", …" if len(files) > _EXAMPLES else "")
        found = chain.from_iterable(_read_file(file, source) for file in files)
    rows: list[T] = []
    reasons: list[str] = []
    number = 0
    columns: Mapping[str, type] = {}
    empty: set[str] = set()
    for number, row in enumerate(found, start=1):
        if not columns:
            columns = _columns(row, source, origin)
            empty = set(columns)
        empty -= {column for column in empty if row.get(column) is not None}
        try:
            _check_row(row, columns, f"{origin}, row {number}")
            if (converted := convert(row)) is not None:
                rows.append(converted)
        except UnusableRowError as error:
            reasons.append(f"row {number}: {error}")
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # fields within fields, of other shapes
            reasons.append(f"row {number}: a field is not as expected ({described(error)})")
        if len(rows) == at_most:
            break
    _check_found(origin, number, empty, [] if rows else reasons)
    loaded = Loaded(rows, len(reasons), tuple(reasons[:_EXAMPLES]), revision(source, folder))
    if reasons:
        _log.warning("%s: %d of %d rows cannot be used: %s", origin, len(reasons), number, "; ".join(loaded.reasons))
    return loaded


def revision(source: Source, data_dir: str | Path | None = None) -> str:
    """What `load` reads, for the leaderboard: the same text means the same data in all splits.

    A split that is not in the folder counts as such, as long as another one is: tests come without
    the training data sometimes.

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
    there = {split: _find(source, split, folder) for split in sorted(source.splits)}
    if not any(there.values()):
        _local_files(source, min(there), folder)  # says what is missing
    for split, paths in there.items():
        if not paths:
            digest.update(f"no {split}".encode())
        for path in paths:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                try:
                    found = file.stat()
                    digest.update(_digest(file, found.st_mtime_ns, found.st_size))
                except OSError as error:
                    raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error
    return f"local:{digest.hexdigest()[:16]}"


@lru_cache(maxsize=50_000)
def _digest(file: Path, changed: int, size: int) -> bytes:
    """Hash of a file's content, found once for gigabytes that have not changed."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _data_folder(data_dir: str | Path | None) -> Path | None:
    named = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else None


def _find(source: Source, split: str, folder: Path) -> list[Path]:
    """The split's files; none if there are none."""
    found = (sorted(folder.glob(pattern)) for pattern in source.splits[split].patterns)
    return next(filter(None, found), [])


def _local_files(source: Source, split: str, folder: Path) -> list[Path]:
    if files := _find(source, split, folder):
        return files
    patterns = source.splits[split].patterns
    problem = f"has no {' or '.join(patterns)}" if folder.is_dir() else "is not a folder"
    raise DataError(
        f"Data of {source.hub}: {folder} {problem}. Put it there, name another folder with --data-dir or "
        f"{DATA_VARIABLE}, or name none to load it from the Hugging Face hub."
    )


def _read_file(file: Path, source: Source) -> Iterator[Row]:
    if file.is_dir():
        yield {part.stem: _text(part) for part in sorted(file.iterdir()) if part.is_file()}
        return
    if not file.name.endswith(".parquet"):
        # The library takes what holds nothing for a fault of its own, and dies of a first row that is null.
        beginning = _beginning(file)
        if not beginning.strip(b"[]{}, \t\r\n"):
            return
        if not source.lines and beginning.startswith(b"null"):
            raise DataError(f"{file}: the first row is null; expected an object with the columns.")
    import datasets  # noqa: PLC0415 (seconds to import)

    # `load_dataset` would report the download to the hub, also for local files; these do not.
    kind = datasets.IterableDataset if source.streaming else datasets.Dataset
    read = getattr(kind, f"from_{_builder(file.name, source)}")
    # Data of this size need no cache, and one of the user's folder could go stale.
    with _quiet(), tempfile.TemporaryDirectory(prefix="gdpo-bench-") as cache:
        try:
            options = {} if source.streaming else {"cache_dir": cache, "keep_in_memory": True}
            found = read(str(file), **options)
            yield from found if source.streaming else found.to_list()
        except Exception as error:  # pyarrow's, the library's or the system's; all mean the same
            raise DataError(
                f"Cannot read {file} as {file.suffix.lstrip('.')}: {_root_cause(error)}. Is the file complete?"
            ) from error


def _beginning(file: Path) -> bytes:
    """What a file begins with, without white space; `?` where it cannot be read: the library says what is wrong."""
    try:
        with gzip.open(file) if file.name.endswith(".gz") else file.open("rb") as content:
            return content.read(_BEGINNING).removeprefix(codecs.BOM_UTF8).lstrip()
    except (OSError, EOFError):
        return b"?"


def _builder(name: str, source: Source) -> str:
    """What the library calls the reader of a file."""
    if source.lines:
        return "text"
    return "parquet" if name.endswith(".parquet") else "json"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {file}: {error}.") from error


def _read_hub(source: Source, split: str) -> Iterator[Row]:
    give_up_where_there_is_no_hub()
    import datasets  # noqa: PLC0415 (seconds to import)

    options: dict[str, Any] = {"streaming": True} if source.streaming else {}
    with _quiet():
        try:
            if "://" in split:
                yield from _read_file(_downloaded(split), source)
                return
            if split.endswith((".jsonl", ".parquet")):
                file = f"hf://datasets/{source.hub}@{source.revision}/{split}"
                found = datasets.load_dataset(_builder(split, source), data_files=file, split="train", **options)
            else:
                found = datasets.load_dataset(
                    source.hub, source.config, revision=source.revision, split=split, **options
                )
            yield from found if source.streaming else found.to_list()
        except Exception as error:  # no network, no such revision, no space; the text says which
            expected = ", ".join(" or ".join(files.patterns) for files in source.splits.values())
            raise DataError(
                f"Cannot load {source.hub} (revision {source.revision}) from "
                f"{split if '://' in split else 'the Hugging Face hub'}: "
                f"{_root_cause(error)}. Go online, or put its files in a folder and name that with --data-dir or "
                f"{DATA_VARIABLE} (expected there: {expected})."
            ) from error


def _downloaded(url: str) -> Path:
    """The file behind an address that names a commit, kept where the library keeps its own."""
    import datasets  # noqa: PLC0415 (seconds to import)

    name = url.rpartition("/")[2]
    file = Path(datasets.config.HF_DATASETS_CACHE, "gdpo-bench", content_hash(url), name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=_PATIENCE) as answer,
            tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part,
        ):
            shutil.copyfileobj(answer, part)
        Path(part.name).replace(file)  # in one step: another process may read it already
    return file


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


def _columns(row: Row, source: Source, origin: str) -> Mapping[str, type]:
    """Those of the source's column sets that the data have."""
    for columns in (source.columns, *source.other_columns):
        if all(column in row for column in columns):
            return columns
    column, kind = next((name, kind) for name, kind in source.columns.items() if name not in row)
    raise DataError(f"{origin} has no column {column!r} ({kind.__name__}); its columns are {', '.join(row)}.")


def _check_found(origin: str, rows: int, empty: set[str], reasons: list[str]) -> None:
    """Refuse data of which nothing can be used.

    Args:
        origin: The files, for messages.
        rows: How many were read.
        empty: Columns without a value in any of them.
        reasons: Why rows cannot be used, where none can.
    """
    if not rows:
        raise DataError(f"{origin} holds no rows.")
    if empty:
        columns = ", ".join(map(repr, sorted(empty)))
        raise DataError(f"{origin}: none of the {rows} rows that were read has a value in {columns}.")
    if reasons:
        raise DataError(f"{origin}: none of the {rows} rows can be used: {'; '.join(reasons[:_EXAMPLES])}.")


def _check_row(row: Row, columns: Mapping[str, type], where: str) -> None:
    for column, kind in columns.items():
        value = row.get(column)
        if value is None:
            raise UnusableRowError(f"{column!r} is missing")
        if not isinstance(value, kind):
            raise DataError(
                f"{where}: column {column!r} must hold {kind.__name__}; got {type(value).__name__} {value!r:.60}."
            )
