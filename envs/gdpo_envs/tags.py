"""Replies made of tagged blocks, such as `<think>…</think><answer>…</answer>`."""

from __future__ import annotations

import re
from collections.abc import Sequence


def after_thought(reply: str) -> str | None:
    """What follows the last `</think>`; the reply where it has no thought, None where it begins one and never ends it.

    The opening tag may be missing: the chat templates of reasoning models write it into the prompt.
    """
    _, closed, rest = reply.rpartition("</think>")
    return rest if closed or not reply.lstrip().startswith("<think>") else None


def has_blocks(reply: str, blocks: Sequence[str], known: re.Pattern[str]) -> bool:
    """Whether a reply is a thought followed by the given blocks, once each, and nothing else.

    A thought reaches to the only `</think>`, and may mention the other tags. Between the blocks
    there may be white space. Takes time linear in the length of the reply.

    Args:
        reply: What the policy wrote.
        blocks: Names of the blocks after the thought, in order.
        known: Matches the opening and closing tags that may not stand elsewhere, see `tag_pattern`.

    Returns:
        Whether it is so.
    """
    thought, closed, rest = reply.strip().rpartition("</think>")
    if not closed or not thought.startswith("<think>") or thought.count("<think>") > 1 or "</think>" in thought:
        return False
    # Text and tags alternate: outside, tag, inside, tag, outside, …
    pieces = known.split(rest)
    expected = [tag for block in blocks for tag in (f"<{block}>", f"</{block}>")]
    return pieces[1::2] == expected and not "".join(pieces[::4]).strip()


def tag_pattern(*names: str) -> re.Pattern[str]:
    """Matches, and when splitting keeps, the opening and closing tags of the blocks and of `think`."""
    return re.compile(f"(</?(?:{'|'.join(('think', *names))})>)")
