"""Entries for eyes: text that a terminal would obey, or that would break a line, is written out."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from gdpo_bench.core.text import printable

T = TypeVar("T")


def legible(part: T) -> T:
    """An entry, or a part of one, with every text on one line and printable; itself where it is so already."""
    found = _legible(part)
    return part if found is None else found


def _legible(part: Any) -> Any:
    """The changed copy, or None where nothing is to be changed."""
    if isinstance(part, str):
        return None if part.isprintable() else printable(part).replace("\n", "\\n").replace("\t", "\\t")
    if isinstance(part, BaseModel):
        fields = {name: _legible(getattr(part, name)) for name in type(part).model_fields}
        changed = {name: value for name, value in fields.items() if value is not None}
        return part.model_copy(update=changed) if changed else None
    if isinstance(part, dict):
        names, values = _legible(list(part)), _legible(list(part.values()))
        if names is None and values is None:
            return None
        return dict(zip(names or part, values or part.values(), strict=True))
    found = [_legible(one) for one in part] if isinstance(part, list | tuple) else []
    if all(one is None for one in found):
        return None
    return type(part)(old if new is None else new for old, new in zip(part, found, strict=True))
