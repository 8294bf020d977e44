from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import pytest

import gdpo_bench
from gdpo_bench.core import GroupVectorEnv, TextEnv, registry


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """Whatever a test registers is forgotten afterwards."""
    ours, gymnasiums = dict(registry._registry), dict(gym.registry)
    yield
    for live, saved in ((registry._registry, ours), (gym.registry, gymnasiums)):
        live.clear()
        live.update(saved)


@pytest.fixture
def vec(clean_registry: None) -> Callable[..., GroupVectorEnv]:
    """Makes a vector environment of a class, under the id `test/Env-v0`."""

    def make(cls: type[TextEnv[Any]], *args: Any, **kwargs: Any) -> GroupVectorEnv:
        registry._registry.pop("test/Env-v0", None)
        gdpo_bench.register("test/Env-v0", cls)
        return gdpo_bench.make_vec("test/Env-v0", *args, **kwargs)

    return make
