"""Python values as JSON and back, with exact types.

None, bool, int, finite float, str and list are themselves; all else is an object with one key, the tag:

    (1, {2: b"x"})  ⇒  {"t":[1,{"d":[[2,{"b":"x"}]]}]}

A subclass is reduced to its builtin base by methods of the base, so that no method of its own has a say; a number of
numpy's to Python's. The text may come from a program that forged it: decoding costs time and memory linear in its
length, or raises ValueError.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

MAX_DEPTH = 100
"""Containers within containers; so also where a cycle is found out."""
MAX_BRACKETS = 1 << 18
"""In the text of what a program returns. An empty set has two, and takes fifty times its text where that is read."""
MAX_COLLISIONS = 64
"""Keys of one dict or set that may share a hash. With more, building it would take quadratic time."""
_MAX_INT_BITS = 2_000
"""Larger ones are hexadecimal: decimal digits of large numbers take quadratic time, and Python limits them."""
_REPR_LENGTH = 200
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
"""Matches at each quote, so that forged text with strings that do not end takes no longer."""


class TooLargeError(ValueError):
    """The text of a value would be longer than allowed."""


class _TooDeepError(ValueError):
    pass


def encode(value: object, max_bytes: int, strict: bool = False) -> str:
    """The value as ASCII text.

    Args:
        value: What is to be sent.
        max_bytes: Of text.
        strict: Raise instead of describing what is not plain data by its type and `repr`.

    Raises:
        TooLargeError: The text would be longer than `max_bytes`, or have more than MAX_BRACKETS without `strict`.
        TypeError: There is something that is not plain data, or too deep, and `strict` is set.
    """
    try:
        plain = _Encoder(max_bytes, strict).plain(value, 0)
    except _TooDeepError:
        if strict:
            raise TypeError(f"more than {MAX_DEPTH} containers within each other, or a cycle") from None
        plain = _opaque(value)
    text = json.dumps(plain, separators=(",", ":"), check_circular=False)
    if len(text) > max_bytes:
        raise TooLargeError(f"{len(text)} bytes; at most {max_bytes} are allowed")
    if not strict:
        _count_brackets(text)
    return text


def decode(text: str, opaque: Callable[[str, str], Any] | None = None) -> Any:
    """The value that `encode` made `text` of.

    Args:
        text: As from `encode`.
        opaque: Makes the stand-in for what was not plain data of its type's name and its `repr`. With it, the text is
            a program's, and may have MAX_BRACKETS.

    Raises:
        ValueError: It is no such text.
    """
    if opaque is not None:
        _count_brackets(text)
    try:
        return _build(json.loads(text), opaque, 0)
    except (TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not an encoded value: {error}") from None


def _count_brackets(text: str) -> None:
    """Raise TooLargeError if there are more than MAX_BRACKETS outside of strings."""
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        bare = _STRINGS.sub("", text)
        if bare.count("[") + bare.count("{") > MAX_BRACKETS:
            raise TooLargeError(f"more than {MAX_BRACKETS} containers")


class _Encoder:
    def __init__(self, max_items: int, strict: bool) -> None:
        self._items_left = max_items
        self._strict = strict
        self._containers_left = max_items if strict else min(max_items, MAX_BRACKETS)
        """Each has a bracket at least, so that what has more need not be written to be refused."""

    def plain(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._items_left -= 1
        if self._items_left < 0:
            raise TooLargeError("more items than bytes are allowed")
        if depth > MAX_DEPTH:
            raise _TooDeepError
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        for base, unpack in _CONTAINERS:
            if issubclass(kind, base):
                self._containers_left -= 1
                if self._containers_left < 0:
                    raise TooLargeError(f"more than {MAX_BRACKETS} containers")
                tag, items = unpack(value)
                if tag == "d":
                    return {tag: [[self.plain(key, depth + 1), self.plain(item, depth + 1)] for key, item in items]}
                members = [self.plain(item, depth + 1) for item in items]
                return {tag: members} if tag else members
        for base, scalar in _SCALARS.items():
            if issubclass(kind, base):
                return scalar(value)
        if self._strict:
            raise TypeError(f"an object of type {kind.__name__}")
        number = _of_numpy(value)
        return _opaque(value) if number is None else _SCALARS[type(number)](number)


def _int(value: int) -> Any:
    value = int.__int__(value)
    return value if value.bit_length() <= _MAX_INT_BITS else {"i": hex(value)}


def _float(value: float) -> Any:
    value = float.__float__(value)
    return value if math.isfinite(value) else {"f": repr(value)}


def _str(value: str) -> Any:
    value = str.__str__(value)
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError:  # JSON would join two surrogates into one character
        return {"u": value.encode("utf-8", "surrogatepass").hex()}
    return value


def _of_numpy(value: Any) -> bool | int | float | complex | None:
    """Python's number for one of numpy's; None for anything else."""
    numpy = sys.modules.get("numpy")
    for name, number in _NUMPY.items():
        kind = getattr(numpy, name, None)  # a program may have put anything in its place
        if isinstance(kind, type) and issubclass(type(value), kind):
            return number(value)
    return None


def _opaque(value: object) -> Any:
    try:
        text = str.__str__(repr(value))[:_REPR_LENGTH]
    except Exception:
        text = "<no repr>"
    return {"o": [_str(_name(type(value))[:_REPR_LENGTH]), _str(text)]}


_name = type.__dict__["__name__"].__get__
"""Name of a class, whatever its metaclass says."""
_NUMPY: dict[str, Callable[[Any], bool | int | float | complex]] = {
    "bool_": bool,
    "integer": int,
    "floating": float,
    "complexfloating": complex,
}
"""Classes of numpy, and Python's for the same numbers."""
_SCALARS: dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: None,
    bool: lambda value: value,
    int: _int,
    float: _float,
    str: _str,
    bytes: lambda value: {"b": bytes.decode(value, "latin-1")},
    complex: lambda value: {"c": [_float(complex.real.__get__(value)), _float(complex.imag.__get__(value))]},
}
_CONTAINERS: list[tuple[type, Callable[[Any], tuple[str, Iterable[Any]]]]] = [
    (list, lambda value: ("", list.__iter__(value))),
    (tuple, lambda value: ("t", tuple.__iter__(value))),
    (dict, lambda value: ("d", dict.items(value))),
    (set, lambda value: ("s", set.__iter__(value))),
    (frozenset, lambda value: ("z", frozenset.__iter__(value))),
]


def _build(plain: Any, opaque: Callable[[str, str], Any] | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    if isinstance(plain, list):
        return [_build(item, opaque, depth + 1) for item in plain]
    if not isinstance(plain, dict):
        return plain
    ((tag, content),) = plain.items()
    if tag in _OF_TEXT:
        return _OF_TEXT[tag](str.__str__(content))
    if not isinstance(content, list):
        raise ValueError(f"tag {tag!r} with {type(content).__name__}")
    if tag == "d":
        keys = _hashable([_build(key, opaque, depth + 1) for key, _ in content])
        return dict(zip(keys, [_build(item, opaque, depth + 1) for _, item in content], strict=True))
    items = [_build(item, opaque, depth + 1) for item in content]
    if tag == "o" and opaque is not None:
        name, text = items
        return opaque(str.__str__(name), str.__str__(text))
    if tag in _OF_LIST:
        return _OF_LIST[tag](items)
    raise ValueError(f"unknown tag {tag!r}")


_OF_TEXT: dict[str, Callable[[str], Any]] = {
    "i": lambda text: int(text, 16),
    "f": float,
    "u": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "b": lambda text: text.encode("latin-1"),
}
_OF_LIST: dict[str, Callable[[list[Any]], Any]] = {
    "t": tuple,
    "s": lambda items: set(_hashable(items)),
    "z": lambda items: frozenset(_hashable(items)),
    "c": lambda items: complex(*map(float.__float__, items)),
}


def _hashable(keys: Sequence[Any]) -> Sequence[Any]:
    """The keys themselves, once it is clear that a dict of them takes linear time."""
    hashes = sorted(map(hash, keys))
    if any(first == last for first, last in zip(hashes, hashes[MAX_COLLISIONS:], strict=False)):
        raise ValueError("too many keys with the same hash")
    return keys
