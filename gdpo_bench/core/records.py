"""Rows of the logs of others: JSON lines, with or without gzip and a byte order mark, and parquet."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gdpo_bench.core.errors import DataError


def json_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place, for messages, and its object; blank lines are passed over.

    Args:
        path: A file in UTF-8; compressed where it ends in `.gz`.

    Raises:
        DataError: It cannot be read, or a line is no JSON object.
    """
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, _parsed(line, where)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, after line {number}: expected UTF-8 text; {error.reason}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object; {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected a JSON object; got {type(content).__name__} {line.strip():.60}")
    return content


def parquet_table(path: Path) -> Any:
    """A parquet file, as pyarrow's table.

    Raises:
        DataError: It cannot be read.
    """
    import pyarrow.parquet  # noqa: PLC0415 (slow to import)

    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"Cannot read {path} as parquet: {error}.") from error


def mapped(content: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """What stands where a mapping says, by the mapping's names; None where nothing does.

    Args:
        content: A line's object.
        mapping: Name → key; `scores.accuracy` is a key within another.
    """
    return {name: _at(content, key.split(".")) for name, key in mapping.items()}


def _at(content: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content
