"""acme/Sql-v0: questions about a shop, answered by querying its database.

What you change: the tools (in `tools.py`), the task and `tasks`, `respond`, the rewards, the
reference and the demonstrations. The last two may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from gdpo_bench import DialogEnv, Gate, Task, Turn, reward
from gdpo_bench.core import Message, split_by_content

from .tools import Row, ToolError, call, signatures

_ITEMS = ("tea", "jam", "rice", "salt", "oil", "soap")
_INSTRUCTIONS = """Tools: {tools}
Call one: <tool_call>{{"name": …, "arguments": {{…}}}}</tool_call>
Or answer: <answer>…</answer>
"""


@dataclass(frozen=True)
class SqlTask(Task):
    """A question. The task's id is a hash of the fields, which must be JSON-able."""

    stock: tuple[Row, ...]
    sql: str
    """A query whose result is the answer."""
    answer: int


@dataclass
class Progress:
    """How far an episode is. It can be pickled, so it holds no connection to the database."""

    calls: int = 0
    answer: str | None = None


class SqlEnv(DialogEnv[SqlTask, Progress]):
    """Questions such as `How many items cost more than 5?`: query the database, then answer."""

    max_turns = 4

    def tasks(self, split: str) -> Sequence[SqlTask]:
        """Random stocks, the same in every process; one in ten, by content, is for evaluation."""
        rng = Random(0)
        return split_by_content((_task(rng) for _ in range(500)), split, repeated=True)

    def messages(self, task: SqlTask) -> list[Message]:
        """The tools as JSON Schema, and the question."""
        tools = json.dumps(signatures())
        return [
            {"role": "system", "content": _INSTRUCTIONS.format(tools=tools)},
            {"role": "user", "content": task.prompt},
        ]

    def begin(self, task: SqlTask) -> Progress:
        """Nothing is called or answered yet."""
        return Progress()

    def respond(self, task: SqlTask, state: Progress, reply: str) -> Message | None:
        """Carry out a call and tell its result; a reply without a call ends the episode."""
        request = _inside("tool_call", reply)
        if request is None:
            state.answer = _inside("answer", reply)
            return None
        state.calls += 1
        try:
            return {"role": "tool", "content": call(task.stock, request)}
        except ToolError as error:
            return {"role": "tool", "content": f"error: {error}"}

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def correct(self, task: SqlTask, turn: Turn[Progress]) -> bool | None:
        """1 if the answer is the right number. Due at the end, so it does not apply before."""
        return turn.state.answer == str(task.answer) if turn.last else None

    @reward(low=0, high=1, gate=Gate(on="correct", at_least=1))
    def direct(self, task: SqlTask, turn: Turn[Progress]) -> float | None:
        """1 ÷ the number of calls; counts only if the answer is correct."""
        return 1 / max(1, turn.state.calls) if turn.last else None

    def reference(self, task: SqlTask) -> list[str]:
        """The replies of an episode that earns full marks."""
        return [_call(task.sql), f"<answer>{task.answer}</answer>"]

    def demonstrations(self, rng: Random) -> Iterator[tuple[SqlTask, list[str]]]:
        """Imperfect episodes, without end. The embedded policy imitates them before it is trained."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            answer = task.answer if rng.random() < 0.7 else rng.randrange(9)
            slips = [_call("SELECT * FROM shop")] if rng.random() < 0.3 else []
            yield task, [*slips, _call(task.sql), f"<answer>{answer}</answer>"]


def _task(rng: Random) -> SqlTask:
    stock = tuple((item, rng.randint(1, 9)) for item in rng.sample(_ITEMS, 4))
    item, price = rng.choice(stock)
    if rng.random() < 0.5:
        question, sql, answer = (
            f"How many items cost more than {price}?\n",
            f"SELECT count(*) FROM stock WHERE price > {price}",
            sum(other > price for _, other in stock),
        )
    else:
        question, sql, answer = (
            f"What does {item} cost?\n",
            f"SELECT price FROM stock WHERE item = '{item}'",
            price,
        )
    return SqlTask(question, stock, sql, answer)


def _call(sql: str) -> str:
    return f"<tool_call>{json.dumps({'name': 'query', 'arguments': {'sql': sql}})}</tool_call>"


def _inside(tag: str, reply: str) -> str | None:
    """What stands between the first opening tag and the next closing one."""
    _, opened, rest = reply.partition(f"<{tag}>")
    inside, closed, _ = rest.partition(f"</{tag}>")
    return inside if opened and closed else None
