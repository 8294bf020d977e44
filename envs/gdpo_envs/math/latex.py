r"""The final answer of a reply in LaTeX, and what can be said of it without understanding it.

An answer stands in `\boxed{…}` or in `<answer>…</answer>`, after the thought. Everything here is linear in
the length of the text, so that a reply of megabytes costs no more than reading it.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 400
"""Longest answer that is read as mathematics; the longest of MATH has 159."""
MAX_NESTING = 8
"""Brackets within brackets of such an answer; those of MATH have at most 3."""

MAX_BARS = 8
"""Vertical bars of such an answer: which of them belong together is found by trying all."""

MAX_BOXES = 16
"""Boxes of a reply that are looked at, the last ones."""

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])")
_PIECE = re.compile(
    r"""
    (?P<box> \\(?:boxed|fbox|framebox) \s* \{ )
    | \\(?:boxed|fbox|framebox) (?![a-zA-Z]) \s* (?P<short>          # without braces: \boxed 5, \boxed\frac12
        \( [^()\n]{1,200} \)
        | [-+]? \\[a-zA-Z]{1,20} (?: [0-9]{2} | (?: \{ [^{}]{0,100} \} ){1,2} )?
        | [a-zA-Z] (?= \s* (?: [$.\\)] | \Z ) )
        | [-+]? [0-9]+ (?: [.,/] [0-9]+ )*
      )
    | \\[\\{}] | [{}]
    """,
    re.VERBOSE,
)
_OPENING, _CLOSING = frozenset("{(["), frozenset("})]")
_DECORATION = re.compile(
    r"\\(?:left|right)(?![a-zA-Z])|(?<!\\)\\[!,;: ]|\\?\$|(?<=\\)[dt](?=frac)|(?<=[0-9])(?:,\\!|\{,\})(?=[0-9]{3})"
)
_LOOSE_SPACE = re.compile(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")


def boxed_answer(text: str) -> str | None:
    r"""The answer of a text: what its `\boxed{…}` holds, or without one its last `<answer>…</answer>`.

    Returns:
        What the box holds. Of several different boxes the last ones, each in its box (see `boxes`): which of them
        count depends on the right answer. None where there is no answer, it is empty, or the last box was begun
        and not closed.
    """
    found = _boxes(text)
    if found is None:
        return None
    if found:
        return found[0] if len(found) == 1 else "".join(rf"\boxed{{{box}}}" for box in found)
    if _BOX.search(text):
        return None
    _, opened, rest = text.rpartition("<answer>")
    answer, closed, _ = rest.partition("</answer>")
    return (answer.strip() or None) if opened and closed else None


def boxes(answer: str) -> list[str]:
    """What the boxes of an answer hold, in their order; the answer itself where it is in none."""
    return (_boxes(answer) if _BOX.search(answer) else None) or [answer]


def _boxes(text: str) -> list[str] | None:
    """What the last boxes hold, each once and none empty; None where the last one is begun and not closed.

    Goes through the text once. A box within a box counts, and not the one around it.
    """
    found: dict[str, None] = {}
    opened: list[int] = []
    """Where the content of each open brace begins, or −1 for a brace that belongs to no box."""
    last = 0
    for piece in _PIECE.finditer(text):
        if piece["box"]:
            opened.append(piece.end())
            last = piece.end()
        elif piece["short"]:
            _add(found, piece["short"])
            last = piece.end()
        elif piece[0] == "{":
            opened.append(-1)
        elif piece[0] == "}" and opened and (start := opened.pop()) >= last:
            _add(found, text[start : piece.start()])
    if opened and opened[-1] >= last > 0 and text[last:].strip(" $.\n"):
        return None
    kept = list(found)[-MAX_BOXES:]
    while len(kept) > 1 and sum(len(box) + len(r"\boxed{}") for box in kept) > MAX_CHARACTERS:
        del kept[0]
    return kept


def _add(found: dict[str, None], content: str) -> None:
    if content := content.strip():
        found.pop(content, None)
        found[content] = None


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
