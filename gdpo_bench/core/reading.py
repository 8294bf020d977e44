"""Files of others: plain ones only, bounded in size, and JSON that means one thing and fits into memory.

`json.loads` alone takes the last of equal keys, turns `1e999` into infinity, and makes 1.8 GB of 64 MiB of `{},{},`.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.text import printable

MOST_DIGITS = 40
"""Digits of a whole number."""
DEEPEST = 32
"""Levels of lists and objects."""
LONGEST_TEXT = 20_000
"""Characters of one text."""
_SHAPE = bytes.maketrans(b"123456789.E", b"0000000000e")
"""All digits alike, and the point."""
_NUMBERS = {int, float, bool, type(None)}


class FormatError(DataError):
    """A file that is there, and is not what it has to be."""


def read_plain(path: Path, largest: int) -> bytes:
    """The content of a file that is no link, device or pipe, and not too large.

    Args:
        path: The file.
        largest: Bytes that it may have at most.

    Raises:
        FormatError: It is something else, or larger; nothing was read.
        DataError: There is no such file, or it cannot be read.
    """
    # Not blocking, so that a pipe without a writer is opened and refused instead of waited for.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        if path.is_symlink():
            raise FormatError(f"{path}: Not a plain file but a link.")
        with open(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FormatError(f"{path}: Not a plain file.")
            if found.st_size <= largest:
                content = file.read(largest + 1)
        if found.st_size > largest or len(content) > largest:
            raise FormatError(f"{path}: It has {found.st_size:,} bytes; at most {largest:,} are read.")
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    return content


def gunzip(content: bytes, largest: int) -> bytes:
    """What gzip compressed, in memory bounded by `largest`.

    Raises:
        FormatError: It is not compressed so, was cut off, or holds more than `largest` bytes.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            found = file.read(largest + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise FormatError(f"{error}. Was it cut off?") from error
    if len(found) > largest:
        raise FormatError(f"It unpacks to more than {largest:,} bytes.")
    return found


def parse_json(content: bytes, memory: int) -> Any:
    """JSON in UTF-8, read strictly.

    Args:
        content: The text.
        memory: Bytes that the parsed values may take.

    Raises:
        FormatError: Not JSON; a key stands twice in one object; a number is not finite or has too many digits; nested
            too deeply; a text is too long or no Unicode; or it would take more memory.
    """
    if (needed := _memory(content)) > memory:
        raise FormatError(
            f"It holds too much: reading it could take {needed >> 20} MiB; at most {memory >> 20} are used."
        )
    try:
        text = content.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_number, **_looks(content))
    except UnicodeDecodeError as error:
        raise FormatError(f"Not text in UTF-8 (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        cut = "" if text[error.pos :].strip() else " The file ends too early: was it cut off?"
        raise FormatError(f"Not JSON: line {error.lineno}, column {error.colno}: {error.msg}.{cut}") from error
    except RecursionError as error:
        raise FormatError("The JSON is nested too deeply.") from error
    _check(value, [])
    return value


def _looks(content: bytes) -> dict[str, Any]:
    """How numbers are looked at: as little as will do, which matters in columns of a million.

    What is beyond the bounds has many digits or a high exponent. Texts such as hashes can look like the latter, so that
    whole numbers, the most, are looked at only for the former.
    """
    shape = content.translate(_SHAPE)
    long, high = b"0" * (MOST_DIGITS + 1) in shape, b"0e000" in shape or b"0e+000" in shape
    return ({"parse_int": _whole_number} if long else {}) | ({"parse_float": _number} if long or high else {})


def _memory(content: bytes) -> int:
    """Bytes that the values of a JSON text take at most, counted without parsing it.

    A list's slot and a column's number each take 8; objects of Python add what they weigh. Numbers of one digit are
    shared; of others, with their commas, fewer fit.
    """
    items, containers = content.count(b","), content.count(b"[") + content.count(b"{")
    numbers = max(0, min(items, (len(content) - 2 * items) // 2))
    return (
        2 * len(content)
        + 16 * items
        + 32 * numbers
        + 30 * content.count(b'"')
        + 72 * containers
        + 150 * content.count(b":")
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise FormatError(f"The key {twice!r:.100} stands twice in one object.")
    return found


def _whole_number(text: str) -> int | _Refused:
    digits = len(text.lstrip("-"))
    return int(text) if digits <= MOST_DIGITS else _Refused(f"a whole number of {digits:,} digits")


def _number(text: str) -> float | _Refused:
    value = float(text)
    return value if math.isfinite(value) else _Refused(f"{text:.40}, which is not finite")


@dataclass(frozen=True)
class _Refused:
    """Stands for a number that cannot be read, until its place is known."""

    what: str


def _check(value: Any, place: list[str]) -> None:
    """Refuse numbers, texts and depths beyond the bounds; the place is kept on the way, so that it costs no memory."""
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, _Refused):
        raise FormatError(f"{_path(place)} is {value.what}. Numbers are finite, and have at most {MOST_DIGITS} digits.")
    elif isinstance(value, dict | list):
        if len(place) >= DEEPEST:
            raise FormatError(f"{_path(place)} is nested too deeply: at most {DEEPEST} levels are read.")
        if isinstance(value, list) and set(map(type, value)) <= _NUMBERS:
            return
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str):
                _check_text(name, place)
            if type(inner) not in _NUMBERS and not _is_plain(inner):
                place.append(f".{name:.50}" if isinstance(value, dict) else f"[{name}]")
                _check(inner, place)
                place.pop()


def _is_plain(value: Any) -> bool:
    """Whether it is a text without anything to look for, as most are; its place need not be known."""
    return isinstance(value, str) and value.isascii() and len(value) <= LONGEST_TEXT


def _check_text(text: str, place: list[str]) -> None:
    if len(text) > LONGEST_TEXT:
        raise FormatError(f"{_path(place)} has a text of {len(text):,} characters; at most {LONGEST_TEXT:,} are read.")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise FormatError(f"{_path(place)} has a text that is no Unicode, at character {error.start}.") from error


def _path(place: list[str]) -> str:
    return printable("".join(place).lstrip(".")) or "The whole"
