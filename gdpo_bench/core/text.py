"""Text of programs, models and authors, of which one cannot know what is in it."""

from __future__ import annotations

import re

_SOFT_BREAK = re.compile(r"^(\S.*)\n(?=[^\W\d_]|[`'\"(])", re.MULTILINE)
"""Of prose at the margin; what is indented, a list or a table keeps its lines."""


def printable(text: str) -> str:
    r"""The text without what a terminal cannot show, or would obey: that is written out, as in `\x1b`."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def unwrapped(docstring: str) -> str:
    """The docstring with each paragraph of prose in one line, for terminals narrower than source files."""
    return _SOFT_BREAK.sub(r"\1 ", docstring)


HALF_A_CHARACTER = "half a character (a lone surrogate), which no policy can read; decode it with errors='replace'"


def is_text(value: object) -> bool:
    """Whether a value is a text that can be written as UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
