"""gdpo-bench: the reference benchmark for multi-reward reinforcement learning of language models.

Importing this makes every registered environment available to `gymnasium.make`.
"""

import warnings

from gdpo_bench.authoring import check_env
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
