"""Lists as texts: how they are laid out and read back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from gdpo_envs.tags import after_thought, without_end_tokens

Layout = Literal["JSON", "bullets", "numbered lines"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
Case = Literal["capitals", "small letters", "title case"]
CASES: tuple[Case, ...] = get_args(Case)

_BULLET = re.compile(r"[-*•] +\S")
_WORD = re.compile(r"[^\W\d_]+")
_CASING: Mapping[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "small letters": str.lower,
    "title case": str.capitalize,
}


def body(reply: str) -> str:
    """What the instruction is about: a reply without its thought, the fence of a code block and end-of-turn tokens."""
    text = without_end_tokens(after_thought(reply) or "").strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.removeprefix("```").removeprefix("json").removesuffix("```").strip()
    return text


def words(text: str) -> list[str]:
    """Runs of letters, as they are written."""
    return _WORD.findall(text)


def json_items(text: str) -> list[str] | None:
    """The texts of a JSON array; None where it is none, is empty, or holds something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    texts = isinstance(found, list) and found and all(isinstance(item, str) for item in found)
    return found if texts else None


def list_items(text: str) -> list[str]:
    """The elements of a JSON array, or the lines that are not blank."""
    found = json_items(text)
    return [line.strip() for line in text.splitlines() if line.strip()] if found is None else found


def has_layout(text: str, layout: str) -> bool:
    """Whether a text is a list in this layout, and nothing else."""
    if layout == "JSON":
        return json_items(text) is not None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if layout == "bullets":
        return bool(lines) and all(_BULLET.match(line) for line in lines)
    return bool(lines) and all(re.match(rf"{i}[.)] +\S", line) for i, line in enumerate(lines, 1))


def has_case(text: str, case: str) -> bool:
    """Whether there are words, and all of them are written so."""
    found = words(text)
    return bool(found) and all(word == _CASING[case](word) for word in found)


def laid_out(items: Sequence[str], layout: str, case: str) -> str:
    """A list as a text."""
    cased = [re.sub(_WORD, lambda word: _CASING[case](word[0]), item) for item in items]
    if layout == "JSON":
        return json.dumps(cased)
    marks = ["-"] * len(cased) if layout == "bullets" else [f"{i}." for i in range(1, len(cased) + 1)]
    return "\n".join(f"{mark} {item}" for mark, item in zip(marks, cased, strict=True))
