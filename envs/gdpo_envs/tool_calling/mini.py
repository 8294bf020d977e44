"""Short requests answered by one JSON tool call, for the embedded policy.

The rewards are ToolRL's: format in {0, 1} beside correctness in [-3, 3]. The warm start shows the
right format as rarely as `format_rate` says, so the benchmark can ask what a normalizer makes of a
small, rare reward beside a large, common one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from gdpo_bench.core import Task, TextEnv, content_hash, held_out, reward, split_by_content
from gdpo_envs.options import checked_share
from gdpo_envs.tool_calling.toolrl import correctness, format_reward, parse_calls

_VALUES = {
    "city": ("Oslo", "Rome", "Lima", "Cairo", "Paris", "Tunis"),
    "unit": ("C", "F", "K"),
    "sym": ("AX", "BQ", "CZ", "DK", "EV", "FL"),
    "day": ("mon", "tue", "wed", "thu", "sun"),
    "n": ("2", "3", "4", "5"),
}
_TOOLS = {"weather": ("city", "day", "unit"), "stock": ("sym", "day", "n"), "book": ("city", "day", "n")}
_WORDINGS = {
    "weather": ("temp in {city} on {day} as {unit}", "how warm is {city} on {day} in {unit}"),
    "stock": ("buy {n} {sym} on {day}", "get me {n} of {sym} on {day}"),
    "book": ("trip for {n} to {city} on {day}", "fly {n} of us to {city} on {day}"),
}
_WRONG_NAME_SHARE = 0.2
_WRONG_VALUE_SHARE = 0.2
_WRONG_KEYS_SHARE = 0.1
_CUT_SHARE = 0.2


@dataclass(frozen=True)
class ToolTask(Task):
    """One request and the call that answers it."""

    name: str
    parameters: dict[str, str]


class ToolCallingMini(TextEnv[ToolTask]):
    """Requests such as `temp in Oslo as C`, answered as `<think>…</think><tool_call>{…}</tool_call>`.

    All requests are enumerated; about a third of the calls is held out in all wordings, and demonstrations never show
    one, not even where they get a call wrong.

    Version history:
        v1: Split by the call that is asked for (most calls of v0's held-out requests were trained on in other words);
            330 calls of three parameters instead of 46 of two; each superfluous call costs correctness; a thought may
            be opened by the prompt.
        v0: First version.
    """

    def __init__(self, format_rate: float = 0.4, eval_share: float = 0.35) -> None:
        """Set the options.

        Args:
            format_rate: Share of the demonstrations that are in the right format, in [0, 1].
            eval_share: Expected share of the calls that are held out, in [0, 1].

        Raises:
            DeclarationError: A value outside its range.
        """
        self.format_rate = checked_share("format_rate", format_rate)
        self.eval_share = checked_share("eval_share", eval_share)

    def tasks(self, split: str) -> Sequence[ToolTask]:
        """Every request of the split."""
        requests = (
            ToolTask(f"{wording.format(**parameters)}\n", name, parameters)
            for name, keys in _TOOLS.items()
            for values in itertools.product(*(_VALUES[key] for key in keys))
            for parameters in [dict(zip(keys, values, strict=True))]
            for wording in _WORDINGS[name]
        )
        return split_by_content(requests, split, self.eval_share, lambda task: _content(task.name, task.parameters))

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: ToolTask, reply: str) -> float:
        """1 if thought and tool call are tagged once each, in order."""
        return format_reward(reply, expects_calls=True, expects_response=False)

    @reward(low=-3, high=3, metric="accuracy")
    def correctness(self, task: ToolTask, reply: str) -> float:
        """Agreement of name, parameter names and values with the true call."""
        return correctness(parse_calls(reply), [{"name": task.name, "parameters": task.parameters}])

    def reference(self, task: ToolTask) -> str:
        """The true call, in the right format."""
        return _reply(task.name, _call(task.name, task.parameters))

    def demonstrations(self, rng: Random) -> Iterator[tuple[ToolTask, str]]:
        """Replies with wrong names, keys or values, broken JSON, or missing tags."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            yield task, self._demonstration(task, rng)

    def _demonstration(self, task: ToolTask, rng: Random) -> str:
        name, parameters = _with_mistakes(task, rng)
        while held_out(content_hash(_content(name, parameters)), self.eval_share):
            name, parameters = _with_mistakes(task, rng)
        call = _call(name, parameters)
        if rng.random() < _CUT_SHARE:
            call = call[:-1]
        if rng.random() < self.format_rate:
            return _reply(name, call)
        # The call can be read in all but the last, which makes closing the thought a risk to correctness.
        return rng.choices(
            (
                f"<tool_call>{call}</tool_call>",
                f"<think>use {name}<tool_call>{call}</tool_call>",
                f"use {name}<tool_call>{call}</tool_call>",
                f"<think>use {name}</think>so <tool_call>{call}</tool_call>",
                f"<think>use {name}</think>{call}",
            ),
            (0.3, 0.2, 0.2, 0.2, 0.1),
        )[0]


def _with_mistakes(task: ToolTask, rng: Random) -> tuple[str, dict[str, str]]:
    """The call of a demonstration."""
    name, parameters = task.name, dict(task.parameters)
    if rng.random() < _WRONG_NAME_SHARE:
        name = rng.choice(list(_TOOLS))
    for key in parameters:
        if rng.random() < _WRONG_VALUE_SHARE:
            parameters[key] = rng.choice(_VALUES[key])
    if rng.random() < _WRONG_KEYS_SHARE:
        parameters = {rng.choice(list(_VALUES)): value for value in parameters.values()}
    return name, parameters


def _content(name: str, parameters: dict[str, str]) -> list[Any]:
    """A call, however it was asked for."""
    return [name, parameters]


def _call(name: str, parameters: dict[str, str]) -> str:
    return json.dumps({"name": name, "parameters": parameters}, separators=(",", ":"))


def _reply(name: str, call: str) -> str:
    return f"<think>use {name}</think><tool_call>{call}</tool_call>"
