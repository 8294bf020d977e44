"""The policy-optimization agent: policies, rollouts, advantages, clipped policy gradient.

What is named here is imported when it is first asked for: options and job files need no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdpo_bench.agent.options import EmbeddedConfig, PretrainedConfig, TrainingOptions
    from gdpo_bench.agent.policies.warm_start import build_corpus, warm_start
    from gdpo_bench.agent.policy import Policy
    from gdpo_bench.agent.step import TrainingStep
    from gdpo_bench.agent.trainer import Trainer

__all__ = [
    "EmbeddedConfig",
    "Policy",
    "PretrainedConfig",
    "Trainer",
    "TrainingOptions",
    "TrainingStep",
    "build_corpus",
    "warm_start",
]

_MODULES = {
    "EmbeddedConfig": "options",
    "Policy": "policy",
    "PretrainedConfig": "options",
    "Trainer": "trainer",
    "TrainingOptions": "options",
    "TrainingStep": "step",
    "build_corpus": "policies.warm_start",
    "warm_start": "policies.warm_start",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
