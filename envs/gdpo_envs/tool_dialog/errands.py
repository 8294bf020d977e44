"""Errands done over several turns with tools that really execute.

A reply thinks, then calls tools, and reads what they answer; or it responds, which ends the episode:

    <think>…</think><tool_call>{"name": "sql", "parameters": {"statement": "…"}}</tool_call>
    <think>…</think><response>42</response>

Success is scored by the state at the end, not by the way to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from gdpo_bench.core import DialogEnv, Gate, Message, Turn, reward, split_by_content
from gdpo_envs.options import checked_count, checked_share
from gdpo_envs.tool_calling.toolrl import Call, format_reward, parse_calls
from gdpo_envs.tool_dialog.shop import Shop, ToolError
from gdpo_envs.tool_dialog.tasks import Errand, errands
from gdpo_envs.tool_dialog.tools import execute, signatures

CALLS_A_TURN = 8
"""Calls of one reply that are carried out."""
TURNS = 6
SHOWN = 2000
"""Characters of a tool's result that are shown."""
INSTRUCTIONS = """You run errands for a small shop, with these tools:
{tools}
Reply with your thoughts and then calls, one JSON object a line:
<think>…</think>
<tool_call>
{{"name": "…", "parameters": {{…}}}}
</tool_call>
You will be told their results. When all is done, end with the answer, a number alone where one is asked for:
<think>…</think>
<response>…</response>"""

_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


@dataclass
class Dialog:
    """How far an episode is."""

    world: Shop
    calls: int = 0
    errors: int = 0
    well_formed: bool = True
    response: str | None = None


class ToolDialog(DialogEnv[Errand, Dialog]):
    """Errands in a shop: a database, a calendar, a file store, a calculator and a unit converter.

    Few calls and few errors count only on success; otherwise doing nothing would be the safest reply.

    Revisions of the grader:
        2: A key that stands twice is no JSON; for the format the prompt may open the thought, and an end-of-turn token
            may follow the reply.
    """

    grader_revision = 2
    max_turns = TURNS

    def __init__(self, count: int = 600, eval_share: float = 0.2, signatures: bool = True) -> None:
        """Set the options.

        Args:
            count: How many errands there are, in both splits together.
            eval_share: Expected share of the errands that are held out, in [0, 1].
            signatures: Whether the prompt begins with the tools' signatures. Without them it holds the errand
                alone, for the embedded policy, whose context is short and who knows the tools from demonstrations.

        Raises:
            DeclarationError: A value outside its range.
        """
        self.count = checked_count("count", count)
        self.eval_share = checked_share("eval_share", eval_share)
        self.signatures = signatures

    def tasks(self, split: str) -> Sequence[Errand]:
        """The errands of the split."""
        return _split(self.count, split, self.eval_share)

    def messages(self, task: Errand) -> list[Message]:
        """The tools' signatures, and the errand."""
        errand: Message = {"role": "user", "content": task.prompt}
        return [{"role": "system", "content": _instructions()}, errand] if self.signatures else [errand]

    def begin(self, task: Errand) -> Dialog:
        """A fresh world."""
        return Dialog(Shop.of(task.world))

    def respond(self, task: Errand, state: Dialog, reply: str) -> Message | None:
        """Run the calls and tell their results, one a line; without a call the episode ends."""
        calls = parse_calls(reply)
        state.well_formed &= calls is not None and format_reward(reply, bool(calls), not calls) == 1
        if calls == []:
            state.response = reply.rpartition("<response>")[2].partition("</response>")[0]
            return None
        if calls is None:
            state.errors += 1
            return _tool_message(['error: each line between the tags must be {"name": …, "parameters": {…}}'])
        results = [self._run(state, call) for call in calls[:CALLS_A_TURN]]
        if len(calls) > CALLS_A_TURN:
            state.errors += 1
            results.append(f"error: only the first {CALLS_A_TURN} calls were carried out")
        return _tool_message(results)

    def _run(self, state: Dialog, call: Call) -> str:
        state.calls += 1
        try:
            return json.dumps(execute(state.world, call["name"], call["parameters"]), ensure_ascii=False)
        except ToolError as error:
            state.errors += 1
            return f"error: {error}"

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def success(self, task: Errand, turn: Turn[Dialog]) -> bool | None:
        """1 if the world is as it should be in the end, and the answer is right where there is a question."""
        if not turn.last:
            return None
        if task.answer is not None and not _says(turn.state.response, task.answer):
            return False
        return turn.state.world.snapshot() == _goal(task)

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: Errand, turn: Turn[Dialog]) -> bool | None:
        """1 if the episode ended with a response, and every reply was a thought and one block of the right kind."""
        return turn.state.well_formed and turn.state.response is not None if turn.last else None

    @reward(low=0, high=1, gate=Gate(on="success", at_least=1))
    def calls(self, task: Errand, turn: Turn[Dialog]) -> float | None:
        """Calls that the errand takes ÷ calls made, at most 1; counts only on success."""
        return min(1.0, len(task.calls) / max(1, turn.state.calls)) if turn.last else None

    @reward(low=0, high=1, gate=Gate(on="success", at_least=1))
    def no_errors(self, task: Errand, turn: Turn[Dialog]) -> float | None:
        """1 ÷ (1 + calls that failed or could not be read); counts only on success."""
        return 1 / (1 + turn.state.errors) if turn.last else None

    def reference(self, task: Errand) -> list[str]:
        """One call a turn, then the answer."""
        return [_calling(call) for call in task.calls] + [_responding(task.answer)]

    def demonstrations(self, rng: Random) -> Iterator[tuple[Errand, list[str]]]:
        """Episodes with needless, wrong or badly tagged calls, and wrong answers."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            yield task, self._demonstration(task, rng)

    def _demonstration(self, task: Errand, rng: Random) -> list[str]:
        replies = [_calling(call) for call in task.calls] + [_responding(task.answer)]
        if rng.random() < 0.2:
            replies.insert(rng.randrange(len(replies)), _calling({"name": "list_events", "parameters": {"day": "mon"}}))
        if rng.random() < 0.15:
            del replies[rng.randrange(len(replies) - 1)]
        if rng.random() < 0.2:
            replies[-1] = _responding(None if task.answer is None else task.answer + rng.randint(1, 9))
        untidy = rng.random() < 0.4
        return [reply.replace("<think></think>", "") if untidy else reply for reply in replies[: self.max_turns]]


def _calling(call: Call) -> str:
    return f"<think></think><tool_call>{json.dumps(call, separators=(',', ':'))}</tool_call>"


def _responding(answer: float | None) -> str:
    return f"<think></think><response>{'done' if answer is None else answer}</response>"


def _tool_message(results: Sequence[str]) -> Message:
    content = "\n".join(result[:SHOWN] for result in results) + "\n"
    # A policy's JSON may have put half of a surrogate pair into a file, which no tokenizer reads.
    return {"role": "tool", "content": content.encode("utf-8", "backslashreplace").decode()}


def _says(response: str | None, answer: float) -> bool:
    """Whether the only number of a response is the answer, to the cent."""
    numbers = _NUMBER.findall(response or "")
    return len(numbers) == 1 and abs(float(numbers[0].replace(",", "")) - answer) < 0.005


def _goal(task: Errand) -> dict[str, object]:
    """The world after the reference calls."""
    world = Shop.of(task.world)
    for call in task.calls:
        execute(world, call["name"], call["parameters"])
    return world.snapshot()


@lru_cache(maxsize=1)
def _instructions() -> str:
    return INSTRUCTIONS.format(tools=signatures())


@lru_cache(maxsize=8)
def _split(count: int, split: str, eval_share: float) -> Sequence[Errand]:
    return split_by_content(errands(count), split, eval_share)
