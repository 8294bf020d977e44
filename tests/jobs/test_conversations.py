"""What is asked of a chat template before a job starts follows from playing."""

from collections.abc import Sequence
from typing import Any

import gdpo_bench
from gdpo_bench.core import DialogEnv, Message, Task, reward
from gdpo_bench.jobs.conversations import conversations


class Host(DialogEnv[Task, list[str]]):
    """Greets, answers as a user, and as a tool whoever calls; breaks off what it cannot read."""

    max_turns = 9

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task("a"), Task("b")]

    def messages(self, task: Task) -> list[Message]:
        question: Message = {"role": "user", "content": task.prompt}
        return [question] if task.prompt == "a" else [{"role": "system", "content": "!"}, question]

    def reference(self, task: Task) -> list[str]:
        return ["call", "bye"]

    def begin(self, task: Task) -> list[str]:
        return []

    def respond(self, task: Task, state: list[str], reply: str) -> Message | None:
        state.append(reply)
        if len(state) == 3:
            raise ValueError("lost")
        return None if reply == "bye" else {"role": "tool" if reply == "call" else "user", "content": "yes?"}

    @reward(low=0, high=1)
    def good(self, task: Task, turn: Any) -> float:
        return 0.0


def test_conversations_of_an_environment_are_found_by_playing_with_and_without_its_reference() -> None:
    env = Host()
    user, system = ("user",), ("system", "user")
    played = [("assistant", "tool"), ("assistant", "user", "assistant", "user")]
    assert conversations(env, env.tasks("eval")) == {begun + rest for begun in (user, system) for rest in ((), *played)}
    assert conversations(gdpo_bench.make_env("gdpo/MathMini-v1"), [Task("a")]) == {("user",)}
