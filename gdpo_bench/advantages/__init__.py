"""Reward vectors to advantages: the estimators of the field behind one interface.

    from gdpo_bench.advantages import compute_advantages
    compute_advantages("gdpo", rewards, groups)  # (N, K), (N,) → (N,)

A file per algorithm; each says its formula, its source and where it departs from it.
"""

from gdpo_bench.advantages.arithmetic import centre, reward_blocks, standardize, weighted_sum, whiten
from gdpo_bench.advantages.batch import Blocks, Groups, Normalizer, RewardBatch
from gdpo_bench.advantages.compute import compute_advantages, make_batch
from gdpo_bench.advantages.constrained_grpo import ConstrainedGRPO
from gdpo_bench.advantages.corpo import CoRPO
from gdpo_bench.advantages.corr_grpo import CorrGRPO
from gdpo_bench.advantages.ctwa import CTWA
from gdpo_bench.advantages.dara import DARA
from gdpo_bench.advantages.dgdo import DGDO
from gdpo_bench.advantages.diagnostics import Diagnostics, diagnose
from gdpo_bench.advantages.dvao import DVAO
from gdpo_bench.advantages.errors import BatchError, DomainError, NormalizerOutputError, OptionError, StateError
from gdpo_bench.advantages.explain import Explanation, explain
from gdpo_bench.advantages.filtering import keep_groups, keep_groups_by_sum
from gdpo_bench.advantages.gd2po import GD2PO
from gdpo_bench.advantages.gdpo import GDPO
from gdpo_bench.advantages.gdpo_corr import GDPOCorr
from gdpo_bench.advantages.grpo import GRPO
from gdpo_bench.advantages.hvo import HVO
from gdpo_bench.advantages.lagrangian import Lagrangian
from gdpo_bench.advantages.maxrl import MaxRL
from gdpo_bench.advantages.na import NA
from gdpo_bench.advantages.opo import OPO
from gdpo_bench.advantages.papo import PAPO
from gdpo_bench.advantages.pareto_rank import ParetoRank
from gdpo_bench.advantages.pass_at_k import PassAtK
from gdpo_bench.advantages.presets import PRESETS
from gdpo_bench.advantages.registry import (
    list_normalizers,
    make_normalizer,
    normalizer_options,
    register_normalizer,
)
from gdpo_bench.advantages.reinforce_pp import ReinforcePlusPlus
from gdpo_bench.advantages.rvpo import RVPO
from gdpo_bench.advantages.sa_mrpo import SAMRPO
from gdpo_bench.advantages.saw import SAW, SAWGRPO
from gdpo_bench.advantages.scheduled import scheduled
from gdpo_bench.advantages.signals import RewardSignal, reward_signals
from gdpo_bench.advantages.sums import sum_blocks
from gdpo_bench.advantages.tchebycheff import Tchebycheff

__all__ = [
    "CTWA",
    "DARA",
    "DGDO",
    "DVAO",
    "GD2PO",
    "GDPO",
    "GRPO",
    "HVO",
    "NA",
    "OPO",
    "PAPO",
    "PRESETS",
    "RVPO",
    "SAMRPO",
    "SAW",
    "SAWGRPO",
    "BatchError",
    "Blocks",
    "CoRPO",
    "ConstrainedGRPO",
    "CorrGRPO",
    "Diagnostics",
    "DomainError",
    "Explanation",
    "GDPOCorr",
    "Groups",
    "Lagrangian",
    "MaxRL",
    "Normalizer",
    "NormalizerOutputError",
    "OptionError",
    "ParetoRank",
    "PassAtK",
    "ReinforcePlusPlus",
    "RewardBatch",
    "RewardSignal",
    "StateError",
    "Tchebycheff",
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
    "scheduled",
    "standardize",
    "sum_blocks",
    "weighted_sum",
    "whiten",
]
