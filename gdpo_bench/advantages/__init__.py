"""Reward vectors to advantages: the estimators of the field behind one interface.

    from gdpo_bench.advantages import compute_advantages
    compute_advantages("gdpo", rewards, groups)  # (N, K), (N,) → (N,)

A file per algorithm; each says its formula, its source and where it departs from it.
"""

from gdpo_bench.advantages.arithmetic import centre, reward_blocks, standardize, sum_blocks, weighted_sum, whiten
from gdpo_bench.advantages.batch import Blocks, Groups, Normalizer, RewardBatch
from gdpo_bench.advantages.compute import compute_advantages, make_batch
from gdpo_bench.advantages.dgdo import DGDO
from gdpo_bench.advantages.diagnostics import Diagnostics, diagnose
from gdpo_bench.advantages.errors import BatchError, DomainError, NormalizerOutputError, OptionError, StateError
from gdpo_bench.advantages.explain import Explanation, explain
from gdpo_bench.advantages.filtering import keep_groups, keep_groups_by_sum
from gdpo_bench.advantages.gd2po import GD2PO
from gdpo_bench.advantages.gdpo import GDPO
from gdpo_bench.advantages.grpo import GRPO
from gdpo_bench.advantages.maxrl import MaxRL
from gdpo_bench.advantages.opo import OPO
from gdpo_bench.advantages.pass_at_k import PassAtK
from gdpo_bench.advantages.presets import PRESETS
from gdpo_bench.advantages.registry import (
    list_normalizers,
    make_normalizer,
    normalizer_options,
    register_normalizer,
)
from gdpo_bench.advantages.reinforce_pp import ReinforcePlusPlus
from gdpo_bench.advantages.signals import RewardSignal, reward_signals

__all__ = [
    "DGDO",
    "GD2PO",
    "GDPO",
    "GRPO",
    "OPO",
    "PRESETS",
    "BatchError",
    "Blocks",
    "Diagnostics",
    "DomainError",
    "Explanation",
    "Groups",
    "MaxRL",
    "Normalizer",
    "NormalizerOutputError",
    "OptionError",
    "PassAtK",
    "ReinforcePlusPlus",
    "RewardBatch",
    "RewardSignal",
    "StateError",
    "centre",
    "compute_advantages",
    "diagnose",
    "explain",
    "keep_groups",
    "keep_groups_by_sum",
    "list_normalizers",
    "make_batch",
    "make_normalizer",
    "normalizer_options",
    "register_normalizer",
    "reward_blocks",
    "reward_signals",
    "standardize",
    "sum_blocks",
    "weighted_sum",
    "whiten",
]
