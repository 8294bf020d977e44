"""Text of programs and models, of which one cannot know what is in it."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text without what a terminal cannot show, or would obey: that is written out, as in `\x1b`."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
