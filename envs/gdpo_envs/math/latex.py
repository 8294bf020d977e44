r"""The final answer of a reply in LaTeX, and what can be said of it without understanding it.

An answer stands in `\boxed{…}` or in `<answer>…</answer>`, after the thought. Everything here is linear in
the length of the text, so that a reply of megabytes costs no more than reading it.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 400
"""Of an answer that is read as mathematics; the longest of MATH has 159."""
MAX_NESTING = 8
"""Brackets within brackets of such an answer; those of MATH have at most 3."""

MAX_BARS = 8
"""Vertical bars of such an answer: which of them belong together is found by trying all."""

_BRACE = re.compile(r"\\[\\{}]|[{}]")
_OPENING, _CLOSING = frozenset("{(["), frozenset("})]")
_DECORATION = re.compile(
    r"\\(?:left|right)(?![a-zA-Z])|(?<!\\)\\[!,;: ]|\\?\$|(?<=\\)[dt](?=frac)|(?<=[0-9])(?:,\\!|\{,\})(?=[0-9]{3})"
)
_LOOSE_SPACE = re.compile(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")


def boxed_answer(text: str) -> str | None:
    r"""What the last `\boxed{…}` of a text holds, or without one the last `<answer>…</answer>`.

    Returns:
        The answer without spaces around it; None where there is none, it is empty, or the last one
        is not closed.
    """
    start = text.rfind(r"\boxed{")
    if start >= 0:
        return _braced(text, start + len(r"\boxed{"))
    _, opened, rest = text.rpartition("<answer>")
    answer, closed, _ = rest.partition("</answer>")
    return (answer.strip() or None) if opened and closed else None


def _braced(text: str, start: int) -> str | None:
    """The text up to the brace that closes one opened before `start`; escaped braces do not count."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : brace.start()].strip() or None
    return None


def plain(answer: str) -> str:
    r"""An answer without what does not change its meaning: spaces, `$`, `\left`, the d of `\dfrac`."""
    return _LOOSE_SPACE.sub("", _DECORATION.sub("", answer)).strip().removesuffix(".")


def enclosing(answer: str) -> str:
    r"""The brackets around a whole list: "{" for a set `\{1,2\}`, "(" for a point or interval, "" for none."""
    text = plain(answer).replace(r"\{", "{").replace(r"\}", "}")
    if text[:1] not in _OPENING or "," not in text:
        return ""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0:  # the first bracket is closed
            return ("{" if text[0] == "{" else "(") if i == len(text) - 1 else ""
    return ""


def too_large(answer: str) -> str | None:
    """Why an answer is not read as mathematics, or None if it is.

    A rule on the text alone: it gives the same verdict on every machine, where a time-out may not.
    """
    if len(answer) > MAX_CHARACTERS:
        return f"has more than {MAX_CHARACTERS} characters"
    if answer.count("|") > MAX_BARS:
        return f"has more than {MAX_BARS} vertical bars"
    depth = 0
    for character in answer:
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth > MAX_NESTING:
            return f"nests brackets more than {MAX_NESTING} deep"
    return None
