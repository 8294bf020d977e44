"""ToolRL's rewards exactly as its code computes them: `compat="toolrl"`.

Source: `verl/utils/reward_score/rlla.py` of github.com/qiancheng0/ToolRL at 8cee13ec, which scored the
runs of arXiv 2504.13958 and 2601.05242, with none of its environment variables set. Where it differs from
strict mode (`gdpo_envs.tool_calling.toolrl`):

1. Calls are assigned to true calls greedily, in the order of the true calls.
2. Values are compared by Python's `==`: 1 equals 1.0 and `true`; JSON may hold NaN.
3. Everything hangs on the literal tags: calls are what stands between the first `<tool_call>` and the next
   `</tool_call>`, also where a thought mentions them, and each block stands on lines of its own for the format.
4. A true answer without a call gives 0, whatever the reply.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from gdpo_envs.tool_calling.toolrl import HIGH, LOW, Call, Parameters

_OPENING, _CLOSING = "<tool_call>", "</tool_call>"


def published_format(reply: str, expects_calls: bool, expects_response: bool) -> float:
    """1 if thought and expected blocks follow each other, a line break between them; otherwise 0.

    Args:
        reply: What the policy wrote.
        expects_calls: Whether the true answer has a `<tool_call>` block.
        expects_response: Whether the true answer has a `<response>` block.

    Returns:
        0.0 or 1.0. What stands within the block does not matter.
    """
    reply = _answer(reply)
    blocks = ["tool_call"] * expects_calls + ["response"] * expects_response
    # Counted first: with one tag of each kind the pattern takes linear time.
    if any(reply.count(tag) != 1 for block in blocks for tag in (f"<{block}>", f"</{block}>")):
        return 0.0
    return float(_pattern(expects_calls, expects_response).fullmatch(reply) is not None)


def published_correctness(reply: str, true_calls: Sequence[Call]) -> float:
    """6·R/S − 3 over the first block's calls, as `toolrl.correctness` but for the differences above.

    Args:
        reply: What the policy wrote.
        true_calls: The true calls.

    Returns:
        A value in [−3, 3]; 0 where there are no true calls, −3 where the calls cannot be read.
    """
    if not true_calls:
        return 0.0
    reply = _answer(reply)
    _, opened, rest = reply.partition(_OPENING)
    if not opened or _CLOSING not in reply:
        return LOW
    content = rest.partition(_OPENING)[0].partition(_CLOSING)[0]
    try:
        calls = [json.loads(line) for line in content.strip().split("\n")]
        return LOW + (HIGH - LOW) * _share(calls, list(true_calls))
    except Exception:  # no JSON, no call, nested too deep: whatever it is, the reply earns nothing
        return LOW


def _answer(reply: str) -> str:
    """What the code for Qwen's chat template takes for the answer."""
    return reply.rpartition("<|im_start|>assistant")[2].partition("<|im_end|>")[0].strip()


@cache
def _pattern(calls: bool, response: bool) -> re.Pattern[str]:
    blocks = [
        r"<think>.*?</think>",
        *[r"<tool_call>\n.*?\n</tool_call>"] * calls,
        *[r"<response>.*?</response>"] * response,
    ]
    return re.compile("\n".join(blocks), re.DOTALL)


def _share(calls: list[Any], true_calls: list[Call]) -> float:
    """R / S."""
    if calls == true_calls:
        return 1.0
    earned = _overlap([call["name"] for call in true_calls], [call["name"] for call in calls])
    free = dict(enumerate(calls))
    for true in true_calls:
        best, taken = 0.0, None
        for i, call in free.items():
            if call["name"] == true["name"] and (value := _agreement(call["parameters"], true["parameters"])) > best:
                best, taken = value, i
        if taken is not None:
            earned += best
            del free[taken]
    return earned / (1 + sum(1 + len(true["parameters"]) for true in true_calls))


def _agreement(given: Parameters, true: Parameters) -> float:
    equal = sum(key in given and bool(given[key] == value) for key, value in true.items())
    return _overlap(list(true), list(given.keys())) + equal


def _overlap(true: list[str], given: list[str]) -> float:
    """IoU of two multisets; 1 if both are empty."""
    if true == given:
        return 1.0
    shared: int = (Counter(true) & Counter(given)).total()
    return shared / (len(true) + len(given) - shared)
