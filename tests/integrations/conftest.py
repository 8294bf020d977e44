import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import pytest

from gdpo_bench.core import Gate, Task, TextEnv, registry, reward, split_by_content

if TYPE_CHECKING:
    from gdpo_bench.agent.policy import Policy


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


@pytest.fixture(scope="session")
def warm_policy() -> "Policy":
    """A small policy that has seen some demonstrations, so that its rewards differ."""
    from gdpo_bench import make_env
    from gdpo_bench.agent.options import EmbeddedConfig
    from gdpo_bench.agent.policies.warm_start import build_corpus, train

    envs = {env_id: make_env(env_id) for env_id in ("gdpo/ToolCallingMini-v1", "gdpo/MathMini-v1")}
    config = EmbeddedConfig(warm_start_steps=200)
    return train(build_corpus(envs, 2000, seed=0), config, 0, lambda share, text: None)


@pytest.fixture
def policy(warm_policy: "Policy") -> "Policy":
    """A copy of the small policy, to be trained."""
    from gdpo_bench.agent.policy import Policy

    return Policy(copy.deepcopy(warm_policy.model), warm_policy.tokenizer)


@pytest.fixture
def run_settings(tmp_path: Path) -> dict[str, Any]:
    """Of a short training with TRL: 16 rollouts a batch in groups of 4, three steps."""
    return {
        "output_dir": str(tmp_path / "run"),
        "num_generations": 4,
        "per_device_train_batch_size": 16,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "max_completion_length": 48,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }


@pytest.fixture
def trainer_of(run_settings: dict[str, Any]) -> Callable[..., Any]:
    """Makes a trainer of TRL."""

    def make(cls: Any, policy: "Policy", env: Any, *, weights: Any = None, **settings: Any) -> Any:
        own = {name: settings.pop(name) for name in ("normalizer", "eval_dataset") if name in settings}
        return cls(
            policy.model,
            env.reward_funcs,
            args=env.config(weights=weights, **(run_settings | settings)),
            train_dataset=env.dataset("train"),
            processing_class=policy.tokenizer,
            **own,
        )

    return make
