from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import pytest
import torch

import gdpo_bench
from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policies.embedded import build_policy
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import GroupVectorEnv, TextEnv, registry

SMALL = EmbeddedConfig(hidden_size=16, intermediate_size=32, vocabulary=300)
TEXTS = ["What is 1+2? It is 3.", "<think>so 4</think><answer>5</answer>", "abracadabra"]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small_policy() -> Policy:
    """Fresh weights, made larger so that some tokens are much likelier than others."""
    policy = build_policy(SMALL, TEXTS, seed=1)
    with torch.no_grad():
        for weights in policy.model.parameters():
            weights.mul_(4)
    return policy


@pytest.fixture
def vec() -> Iterator[Callable[..., GroupVectorEnv]]:
    """Makes a vector environment of a class, under the id `test/Env-v0`, forgotten afterwards."""
    saved = [(live, dict(live)) for live in (registry._registry, gym.registry)]

    def make(cls: type[TextEnv[Any]], *args: Any, **kwargs: Any) -> GroupVectorEnv:
        registry._registry.pop("test/Env-v0", None)
        gdpo_bench.register("test/Env-v0", cls)
        return gdpo_bench.make_vec("test/Env-v0", *args, **kwargs)

    yield make
    for live, before in saved:
        live.clear()
        live.update(before)
