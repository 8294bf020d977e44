"""Replies made of tagged blocks, such as `<think>…</think><answer>…</answer>`.

One rule for all environments: the opening `<think>` may be missing, since the chat templates of reasoning models
write it into the prompt; and an end-of-turn token at the end of a raw completion is no part of the reply.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

END_TOKENS = (
    *("<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|eom|>"),
    *("<|end_of_turn|>", "<|endofturn|>", "<|END_OF_TURN_TOKEN|>", "<end_of_turn>", "<end_of_utterance>", "<turn|>"),
    *("<|return|>", "<|call|>", "<|user|>", "<|observation|>", "<eos>", "</s>", "<｜end▁of▁sentence｜>"),
)
"""What ends a turn in published chat templates. GLM ends one with the role that is next."""
_END_TOKEN = re.compile("|".join(map(re.escape, END_TOKENS)))


def after_thought(reply: str) -> str | None:
    """What follows the last `</think>`; the reply without a thought as it is, None where its thought never ends."""
    _, closed, rest = reply.rpartition("</think>")
    return rest if closed or not reply.lstrip().startswith("<think>") else None


def after_only_thought(reply: str) -> str | None:
    """What follows the one closed thought that a reply begins with; None where it does not begin so.

    The thought reaches to the only `</think>`, and begins with the only `<think>` or, opened by the prompt, without.
    What is returned is stripped of white space and of end-of-turn tokens at its end.
    """
    thought, closed, rest = reply.partition("</think>")
    thought = thought.lstrip().removeprefix("<think>")
    if not closed or "<think>" in thought or "<think>" in rest or "</think>" in rest:
        return None
    return without_end_tokens(rest).strip()


def without_end_tokens(reply: str) -> str:
    """A reply without the end-of-turn tokens and the white space at its end, in time linear in its length."""
    end = len(reply)
    for token in reversed(list(_END_TOKEN.finditer(reply))):
        if reply[token.end() : end].strip():
            break
        end = token.start()
    return reply[:end].rstrip()


def reply_pattern(*blocks: str, known: Sequence[str] = ()) -> re.Pattern[str]:
    """Matches, by `fullmatch`, a reply that is a thought followed by the given blocks, once each, and nothing else.

    The thought is as `after_only_thought` has it, and may mention the other tags. Between the blocks there may be
    white space. Every part can begin and end in one way only, so that a match takes time linear in the reply's length.

    Args:
        *blocks: Names of the blocks after the thought, in order.
        known: Names of further blocks whose tags may stand in none of these.
    """
    names = "|".join({"think": None} | dict.fromkeys((*blocks, *known)))
    body = r"\s*".join(f"<{block}>{_text_without(names)}</{block}>" for block in blocks)
    return re.compile(rf"(?:\s*<think>)?{_text_without('think')}</think>\s*{body}\s*(?:(?:{_END_TOKEN.pattern})\s*)*")


def _text_without(tags: str) -> str:
    """Matches text in which none of these tags opens or closes."""
    return rf"[^<]*(?:<(?!/?(?:{tags})>)[^<]*)*"
