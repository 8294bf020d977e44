from collections.abc import Iterator, Sequence

import gymnasium as gym
import pytest

from gdpo_bench.core import Gate, Task, TextEnv, registry, reward, split_by_content


class Moody(TextEnv[Task]):
    """`size` knows no odd task, `luck` breaks on replies with a `b`, `gated` hangs on luck."""

    def __init__(self) -> None:
        self.calls = 0

    def tasks(self, split: str) -> Sequence[Task]:
        return split_by_content((Task(f"{n}: say something\n") for n in range(60)), split)

    @reward(low=0, high=100, weight=0.5)
    def size(self, task: Task, reply: str) -> float | None:
        return None if int(task.prompt.split(":")[0]) % 2 else min(len(reply), 100)

    @reward(low=0, high=100, batched=True)
    def luck(self, tasks: Sequence[Task], replies: Sequence[str]) -> list[float | Exception]:
        self.calls += 1
        return [ValueError("an unlucky letter") if "b" in reply else reply.count("a") for reply in replies]

    @reward(low=0, high=1, gate=Gate(on="luck", at_least=1), kind="binary")
    def gated(self, task: Task, reply: str) -> bool:
        return len(reply) >= 5


@pytest.fixture
def moody() -> Iterator[str]:
    """The id of an environment whose rewards are not always there."""
    ours, gymnasiums = dict(registry._registry), dict(gym.registry)
    registry.register("test/Moody-v0", Moody)
    yield "test/Moody-v0"
    for live, saved in ((registry._registry, ours), (gym.registry, gymnasiums)):
        live.clear()
        live.update(saved)
