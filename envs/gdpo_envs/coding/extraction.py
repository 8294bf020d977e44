"""The program in a reply: what stands in its last Markdown fence."""

from __future__ import annotations

import re

from gdpo_envs.tags import after_thought

_FENCE = re.compile(r"(`{3,})([^`]*)")
_PYTHON = re.compile(r"\{?\.?(?:python|py)[0-9.]*(?![\w+-])", re.IGNORECASE)


def extract_code(reply: str) -> str | None:
    """The program in a reply, or None where there is none.

    A thought up to the last `</think>` is no part of the answer; a reply that is nothing but an
    unfinished thought has none. Of what is left, the last fence counts that is tagged `python`,
    `py`, `Python3` or alike; where none is, the last one without a tag. Blank fences are passed
    over. As in Markdown, a fence that is not closed reaches to the end.

    Args:
        reply: Any text. The time taken is proportional to its length.
    """
    if (answer := after_thought(reply)) is None:
        return None
    tagged = untagged = None
    for tag, code in _fences(answer):
        if not code.strip():
            continue
        if _PYTHON.match(tag):
            tagged = code
        elif not tag:
            untagged = code
    return tagged if tagged is not None else untagged


def _fences(text: str) -> list[tuple[str, str]]:
    """Tag and content of every fence; the markers stand at the beginning of a line."""
    found: list[tuple[str, list[str]]] = []
    closing = 0
    """Backticks that close the fence we are in; 0 outside."""
    for line in text.split("\n"):
        stripped = line.strip()
        if closing:
            if len(stripped) >= closing and not stripped.strip("`"):
                closing = 0
            else:
                found[-1][1].append(line.removesuffix("\r"))
        elif opening := _FENCE.fullmatch(stripped):
            closing = len(opening[1])
            found.append((opening[2].strip(), []))
    return [(tag, "\n".join(lines) + "\n") for tag, lines in found]
