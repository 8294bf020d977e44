"""Reward vectors to advantages: the estimators of the field behind one interface.

    from gdpo_bench.advantages import compute_advantages
    compute_advantages("gdpo", rewards, groups)  # (N, K), (N,) → (N,)

A file per algorithm; each says its formula, its source and where it departs from it.
"""

from gdpo_bench.advantages.batch import AbsentPolicy, Normalizer, RewardBatch, make_batch
from gdpo_bench.advantages.compute import compute_advantages
from gdpo_bench.advantages.diagnostics import Diagnostics, diagnose
from gdpo_bench.advantages.errors import BatchError, DomainError, NormalizerOutputError, OptionError
from gdpo_bench.advantages.gdpo import GDPO
from gdpo_bench.advantages.groups import Groups
from gdpo_bench.advantages.grpo import GRPO
from gdpo_bench.advantages.registry import (
    list_normalizers,
    make_normalizer,
    normalizer_options,
    register_normalizer,
)

__all__ = [
    "GDPO",
    "GRPO",
    "AbsentPolicy",
    "BatchError",
    "Diagnostics",
    "DomainError",
    "Groups",
    "Normalizer",
    "NormalizerOutputError",
    "OptionError",
    "RewardBatch",
    "compute_advantages",
    "diagnose",
    "list_normalizers",
    "make_batch",
    "make_normalizer",
    "normalizer_options",
    "register_normalizer",
]
