"""ToolRL's rewards for tool calls: is the reply in the right format, and are the calls right?

Source: ToolRL (arXiv 2504.13958), section 3.3, as used by GDPO (arXiv 2601.05242, section 4.1).
A reply thinks, then calls tools, then perhaps talks:

    <think>…</think>
    <tool_call>
    {"name": "weather", "parameters": {"city": "Oslo"}}
    </tool_call>
    <response>…</response>

Both rewards read what stands after the last `</think>`, so a thought may mention the tags. They
depart from the published code, and what they do instead is called strict mode:

1. Calls are assigned to true calls optimally; the published code assigns greedily.
2. Every superfluous call raises the best possible sum, by as much as a true call like it would. In the published
   code a reply that lists every call there is earns 1.5 or more whatever the task.
3. Values are compared as JSON: 1 equals 1.0, but `true` is not 1, and "1" is no number. An object in which a key
   stands twice is no JSON, since readers differ on which value counts.
4. White space between the blocks is free, the thought may be opened by the prompt, and it may be missing for
   correctness. An end-of-turn token at the end costs nothing.
5. Calls are read from every `<tool_call>` block, so that none can be hidden in a second one.
6. Where the true answer calls no tool, `gdpo/ToolCalling-v0` takes correctness as not applicable; the
   published code gives 0.

`gdpo_envs.tool_calling.toolrl_published` has the published rewards to the letter. As there, a call
earns something for its parameters only if its name is right, so that a single call of another name
earns −3, and what stands in the block need not be JSON for the format to be right.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NoReturn, TypedDict

from gdpo_envs.tags import reply_pattern

Parameters = dict[str, Any]


class Call(TypedDict):
    """One call of a tool."""

    name: str
    parameters: Parameters


LOW, HIGH = -3.0, 3.0
"""Range of the correctness reward."""

_BLOCKS = ("tool_call", "response")
_FORMATS = {
    expected: reply_pattern(*itertools.compress(_BLOCKS, expected), known=_BLOCKS)
    for expected in itertools.product((False, True), repeat=2)
}
"""Which of the blocks are expected → pattern."""


def format_reward(reply: str, expects_calls: bool, expects_response: bool) -> float:
    """1 if the expected blocks are there once each, in order, and nothing else is; otherwise 0.

    Args:
        reply: What the policy wrote.
        expects_calls: Whether the true answer has a `<tool_call>` block.
        expects_response: Whether the true answer has a `<response>` block.

    Returns:
        0.0 or 1.0.
    """
    return float(_FORMATS[expects_calls, expects_response].fullmatch(reply) is not None)


def parse_calls(reply: str) -> list[Call] | None:
    """The calls of a reply, in time linear in its length.

    Args:
        reply: What the policy wrote.

    Returns:
        The calls; an empty list if there is no `<tool_call>` block; None if a block is not closed
        or holds a line that is not a JSON object with a name and parameters.
    """
    calls: list[Call] = []
    end = reply.rfind("</think>")
    while (start := reply.find("<tool_call>", max(end, 0))) >= 0:
        start += len("<tool_call>")
        end = reply.find("</tool_call>", start)
        if end < 0:
            return None
        for line in reply[start:end].split("\n"):  # not splitlines: JSON texts may hold U+2028
            if not line or line.isspace():
                continue
            call = _parse_call(line)
            if call is None:
                return None
            calls.append(call)
    return calls


def correctness(reply_calls: Sequence[Call] | None, true_calls: Sequence[Call]) -> float:
    """How much of the true calls a reply has: 6·R/S − 3, for the assignment for which that is largest.

    R = IoU of the names, as multisets, + Σ (IoU of the parameters' keys + number of equal values),
    over pairs of a true call and a call of the same name; each call is in one pair at most.
    S = 1 + Σ (1 + number of parameters), over the true calls and the calls that are in no pair.
    So what is missing, wrong or superfluous costs; the order of the calls does not matter.

    Args:
        reply_calls: The calls of the reply; None where they could not be parsed, which earns −3.
        true_calls: The true calls. Where there are none, the formula gives a reply without calls 3 and
            any other −3.

    Returns:
        A value in [−3, 3]; 3 if and only if the calls are equal up to their order.
    """
    if reply_calls is None:
        return LOW
    if len(reply_calls) == len(true_calls) == 1:
        reply_call, true_call = reply_calls[0], true_calls[0]
        if reply_call["name"] != true_call["name"]:
            return LOW
        earned = 1.0 + _agreement(reply_call["parameters"], true_call["parameters"])
        share = earned / (1 + _size(true_call["parameters"]))
    else:
        share = _best_share(reply_calls, true_calls)
    return LOW + (HIGH - LOW) * share


def same_json(a: Any, b: Any) -> bool:
    """Whether two parsed JSON values are equal: as Python has it, but true is not 1, also inside."""
    if a != b:
        return False
    if isinstance(a, str):
        return True
    if isinstance(a, dict):
        return all(same_json(value, b[key]) for key, value in a.items())
    if isinstance(a, list):
        return all(map(same_json, a, b))
    return isinstance(a, bool) is isinstance(b, bool)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


_decode = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique).raw_decode


def _parse_call(line: str) -> Call | None:
    line = line.strip(" \t\r")
    try:
        call, end = _decode(line)
    except (ValueError, RecursionError):  # not JSON, a number of thousands of digits, or nested too deep
        return None
    if end < len(line) or not isinstance(call, dict):
        return None
    name, parameters = call.get("name"), call.get("parameters")
    if not isinstance(name, str) or not isinstance(parameters, dict):
        return None
    return {"name": name, "parameters": parameters}


def _agreement(given: Parameters, true: Parameters) -> float:
    """IoU of the keys plus the number of equal values, in [0, 1 + len(true)]."""
    if not given and not true:
        return 1.0
    shared = [key for key in true if key in given]
    equal = sum(same_json(given[key], true[key]) for key in shared)
    return len(shared) / (len(given) + len(true) - len(shared)) + equal


def _size(parameters: Parameters) -> int:
    """What a call counts for in S."""
    return 1 + len(parameters)


def _best_share(reply_calls: Sequence[Call], true_calls: Sequence[Call]) -> float:
    """The largest R / S over all assignments.

    Dinkelbach's algorithm: a share becomes better as long as some assignment has R − share · S > 0, and the one for
    which that is largest gives the next share. Only calls of a name can pair, so each name's is found by itself.
    """
    given, true = _by_name(reply_calls), _by_name(true_calls)
    shared = [name for name in true if name in given]
    both = sum(min(len(given[name]), len(true[name])) for name in shared)
    either = len(reply_calls) + len(true_calls) - both
    overlap = both / either if either else 1.0
    # S is smallest where the calls in pairs are the longest, so R alone does not decide who is in one.
    everything = 1 + sum(_size(call["parameters"]) for call in (*true_calls, *reply_calls))
    worth = [[[(_agreement(g, t), _size(g)) for g in given[name]] for t in true[name]] for name in shared]
    share = 0.0
    while True:
        pairs = [pair for of_name in worth for pair in _best_pairs(of_name, share)]
        earned = overlap + sum(agreement for agreement, _ in pairs)
        better = earned / (everything - sum(size for _, size in pairs))
        if better <= share:
            return share
        share = better


def _by_name(calls: Sequence[Call]) -> dict[str, list[Parameters]]:
    grouped = defaultdict(list)
    for call in calls:
        grouped[call["name"]].append(call["parameters"])
    return grouped


def _best_pairs(worth: list[list[tuple[float, int]]], share: float) -> list[tuple[float, int]]:
    """The pairs for which Σ agreement + share · size is largest, of (agreement, size) by true call and call."""
    if len(worth) == 1 or len(worth[0]) == 1:
        return [max((pair for row in worth for pair in row), key=lambda pair: pair[0] + share * pair[1])]
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import, rarely needed)

    gains = [[agreement + share * size for agreement, size in row] for row in worth]
    return [worth[row][column] for row, column in zip(*linear_sum_assignment(gains, maximize=True), strict=True)]
