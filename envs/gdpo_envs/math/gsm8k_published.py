"""The rewards of GDPO's GSM8K example exactly as its code computes them: `compat="gdpo"`.

Source: `gsm8k.py` of the TRL example published with arXiv 2601.05242 (github.com/NVlabs/GDPO). Texts are compared, not
numbers, so `$18`, `18.` and `18 eggs` are not 18; a sign or a comma makes an answer no integer.
"""

from __future__ import annotations


def published_answer(reply: str) -> str:
    """The text from the last `<answer>`, or without one from the beginning, to the next `</answer>`, stripped."""
    return reply.rpartition("<answer>")[2].partition("</answer>")[0].strip()


def published_integer(reply: str) -> bool:
    """Whether the answer is nothing but digits."""
    return published_answer(reply).isdigit()


def published_format(reply: str) -> bool:
    """Whether the reply is `<think>…</think>`, one newline, `<answer>…</answer>`, and at most a newline."""
    return (
        reply.startswith("<think>")
        and reply.removesuffix("\n").endswith("</answer>")
        and "</think>\n<answer>" in reply
        and reply.count("<answer>") == reply.count("</answer>") == 1
    )
