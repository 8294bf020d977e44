"""gdpo-bench: the reference benchmark for multi-reward reinforcement learning of language models.

Importing this makes every registered environment available to `gymnasium.make`.
"""

import warnings
from typing import TYPE_CHECKING, Any

from gdpo_bench.core import (
    DialogEnv,
    EnvSpec,
    Gate,
    GdpoBenchError,
    GroupVectorEnv,
    RewardSpec,
    Task,
    TextEnv,
    Turn,
    list_envs,
    make_env,
    make_vec,
    register,
    reward,
    spec,
)
from gdpo_bench.core.registry import load_plugins

if TYPE_CHECKING:
    from gdpo_bench.authoring import check_env

__version__ = "0.1.0"

__all__ = [
    "DialogEnv",
    "EnvSpec",
    "Gate",
    "GdpoBenchError",
    "GroupVectorEnv",
    "RewardSpec",
    "Task",
    "TextEnv",
    "Turn",
    "__version__",
    "check_env",
    "list_envs",
    "make_env",
    "make_vec",
    "register",
    "reward",
    "spec",
]

for _complaint in load_plugins():
    warnings.warn(_complaint, stacklevel=2)


def __getattr__(name: str) -> Any:
    if name == "check_env":  # the checker is for authors: training does without importing it
        from gdpo_bench.authoring import check_env  # noqa: PLC0415

        return check_env
    hint = "; gymnasium.make(id) makes one rollout, gdpo_bench.make_vec(id) groups of them" if name == "make" else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
