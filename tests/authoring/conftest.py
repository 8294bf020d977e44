import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import pytest

from gdpo_bench.core import registry


@pytest.fixture
def specimens() -> Iterator[ModuleType]:
    """The module of specimens, importable here and in the processes of the checker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import specimens

        yield specimens
        sys.modules.pop("specimens")


@pytest.fixture
def registered(specimens: ModuleType) -> Iterator[Callable[[Any], str]]:
    """Registers a specimen by its name for the length of a test; returns its id."""
    ours, gymnasiums = dict(registry._registry), dict(gym.registry)

    def register(name: str) -> str:
        registry.register(f"test/{name}-v0", getattr(specimens, name))
        return f"test/{name}-v0"

    yield register
    for live, saved in ((registry._registry, ours), (gym.registry, gymnasiums)):
        live.clear()
        live.update(saved)
