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

from gdpo_bench.core import Task, TextEnv, reward, split_by_content
from gdpo_envs.options import checked_share
from gdpo_envs.tool_calling.toolrl import correctness, format_reward, parse_calls

_VALUES = {
    "city": ("Oslo", "Rome", "Lima", "Cairo", "Paris"),
    "unit": ("C", "F"),
    "sym": ("AX", "BQ", "CZ", "DK"),
    "day": ("mon", "tue", "wed", "sun"),
}
_TOOLS = {"weather": ("city", "unit"), "stock": ("sym", "day"), "book": ("city", "day")}
_WORDINGS = {
    "weather": ("temp in {city} as {unit}", "how warm is {city} in {unit}"),
    "stock": ("price of {sym} on {day}", "what cost {sym} on {day}"),
    "book": ("trip to {city} on {day}", "fly me to {city} on {day}"),
}


@dataclass(frozen=True)
class ToolTask(Task):
    """One request and the call that answers it."""

    name: str
    parameters: dict[str, str]


class ToolCallingMini(TextEnv[ToolTask]):
    """Requests such as `temp in Oslo as C`, answered as `<think>…</think><tool_call>{…}</tool_call>`."""

    def __init__(self, format_rate: float = 0.4, eval_share: float = 0.2) -> None:
        """Set the options.

        Args:
            format_rate: Share of the demonstrations that are in the right format, in [0, 1].
            eval_share: Expected share of the tasks that are held out, in [0, 1].

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
        return split_by_content(requests, split, self.eval_share)

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
        name, parameters = task.name, dict(task.parameters)
        if rng.random() < 0.25:
            name = rng.choice(list(_TOOLS))
        for key in parameters:
            if rng.random() < 0.3:
                parameters[key] = rng.choice(_VALUES[key])
        if rng.random() < 0.15:
            parameters = {rng.choice(list(_VALUES)): value for value in parameters.values()}
        call = _call(name, parameters)
        if rng.random() < 0.2:
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


def _call(name: str, parameters: dict[str, str]) -> str:
    return json.dumps({"name": name, "parameters": parameters}, separators=(",", ":"))


def _reply(name: str, call: str) -> str:
    return f"<think>use {name}</think><tool_call>{call}</tool_call>"
