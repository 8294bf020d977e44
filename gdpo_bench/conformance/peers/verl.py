"""verl 0.9.1: the outcome-advantage functions of `verl.trainer.ppo.core_algos`.

verl works on tokens: a rollout's reward stands at its last token, and every token of a rollout
gets the rollout's advantage. It makes float32 arrays of rewards. A component that `compute_score`
returns as None becomes NaN there. Estimators of one reward get the weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from verl.trainer.ppo import core_algos

from gdpo_bench.conformance.peers.arguments import nan_where_absent


def gdpo(
    rewards: Tensor,
    groups: Tensor,
    weights: Tensor,
    lengths: Tensor,
    applicable: Tensor | None,
) -> Tensor:
    """`compute_gdpo_outcome_advantage`."""
    mask, width = _response_mask(lengths)
    names = [f"reward_{i}" for i in range(rewards.shape[1])]
    matrix = nan_where_absent(rewards, applicable)
    advantages, _ = core_algos.compute_gdpo_outcome_advantage(
        token_level_rewards=torch.zeros(len(groups), width),
        response_mask=mask,
        index=np.array(groups),
        config={"gdpo_reward_keys": names, "gdpo_reward_weights": torch.as_tensor(weights).tolist()},
        non_tensor_batch={name: matrix[:, i].numpy() for i, name in enumerate(names)},
        batch={
            "prompts": torch.zeros(len(groups), 1, dtype=torch.long),
            "attention_mask": torch.cat([torch.ones(len(groups), 1, dtype=torch.long), mask.long()], dim=1),
        },
    )
    return advantages[:, 0]  # type: ignore[no-any-return]


def grpo(rewards: Tensor, groups: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """`compute_grpo_outcome_advantage`."""
    return _outcome(core_algos.compute_grpo_outcome_advantage, rewards, groups, weights, lengths)


def grpo_no_std(rewards: Tensor, groups: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """`compute_grpo_outcome_advantage` with `norm_adv_by_std_in_grpo=False`."""
    return _outcome(
        core_algos.compute_grpo_outcome_advantage, rewards, groups, weights, lengths, norm_adv_by_std_in_grpo=False
    )


def rloo(rewards: Tensor, groups: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """`compute_rloo_outcome_advantage`."""
    return _outcome(core_algos.compute_rloo_outcome_advantage, rewards, groups, weights, lengths)


def opo(rewards: Tensor, groups: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """`compute_opo_outcome_advantage`."""
    return _outcome(core_algos.compute_opo_outcome_advantage, rewards, groups, weights, lengths)


def reinforce_pp_baseline(rewards: Tensor, groups: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """`compute_reinforce_plus_plus_baseline_outcome_advantage`."""
    function = core_algos.compute_reinforce_plus_plus_baseline_outcome_advantage
    return _outcome(function, rewards, groups, weights, lengths)


def _response_mask(lengths: Tensor) -> tuple[Tensor, int]:
    width = int(max(lengths))
    return (torch.arange(width) < torch.as_tensor(lengths)[:, None]).float(), width


def _outcome(
    function: Callable[..., tuple[Tensor, Tensor]],
    rewards: Tensor,
    groups: Tensor,
    weights: Tensor,
    lengths: Tensor,
    **options: Any,
) -> Tensor:
    mask, width = _response_mask(lengths)
    token_level_rewards = torch.zeros(len(groups), width)
    last = torch.as_tensor(lengths) - 1
    token_level_rewards[torch.arange(len(groups)), last] = rewards.float() @ torch.as_tensor(weights).float()
    advantages, _ = function(token_level_rewards, mask, index=np.array(groups), **options)
    return advantages[:, 0]
