"""Environments: what authors declare, and the Gymnasium interfaces made from it.

Needs numpy and gymnasium only; imports neither torch nor any environment.
"""

from gdpo_bench.core.env import DialogEnv, TextEnv, Turn
from gdpo_bench.core.errors import (
    DataError,
    DeclarationError,
    GdpoBenchError,
    RegistrationError,
    ReplyError,
    RewardError,
    RewardTimeoutError,
    UnavailableError,
    UnknownNameError,
)
from gdpo_bench.core.measurements import Evaluation
from gdpo_bench.core.registry import EnvSpec, list_envs, make_env, make_vec, register, spec
from gdpo_bench.core.rewards import Gate, RewardSpec, reward
from gdpo_bench.core.spaces import Unicode
from gdpo_bench.core.task import Message, Task, content_hash, held_out, split_by_content
from gdpo_bench.core.vector_env import GroupVectorEnv

__all__ = [
    "DataError",
    "DeclarationError",
    "DialogEnv",
    "EnvSpec",
    "Evaluation",
    "Gate",
    "GdpoBenchError",
    "GroupVectorEnv",
    "Message",
    "RegistrationError",
    "ReplyError",
    "RewardError",
    "RewardSpec",
    "RewardTimeoutError",
    "Task",
    "TextEnv",
    "Turn",
    "UnavailableError",
    "Unicode",
    "UnknownNameError",
    "content_hash",
    "held_out",
    "list_envs",
    "make_env",
    "make_vec",
    "register",
    "reward",
    "spec",
    "split_by_content",
]
