"""Text of programs, models and authors, of which one cannot know what is in it."""

from __future__ import annotations

import re

_SOFT_BREAK = re.compile(r"^(\S.*)\n(?=[^\W\d_]|[`'\"(])", re.MULTILINE)
"""Of prose at the margin; what is indented, a list or a table keeps its lines."""

_REVISION = re.compile(r"^ {4}v?\d+: .*(?:\n {8}\S.*)+", re.MULTILINE)
"""An item of a version history, with the lines that go on with it."""


def printable(text: str) -> str:
    r"""The text without what a terminal cannot show, or would obey: that is written out, as in `\x1b`."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def brief(text: str, longest: int = 1_000) -> str:
    """The text, or the beginning of one that would flood a terminal."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest:,} characters more)"


def unwrapped(docstring: str) -> str:
    """The docstring with each paragraph, and each item of a version history, in one line: terminals break it anew."""
    return _REVISION.sub(lambda item: item[0].replace("\n" + " " * 8, " "), _SOFT_BREAK.sub(r"\1 ", docstring))


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
