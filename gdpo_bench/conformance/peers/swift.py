"""ms-swift 4.6: `swift.rl_core.advantage.compute_advantages`, which all its trainers call.

ms-swift makes float32 tensors of rewards and needs groups of one size, side by side; rollouts are
sorted for it here. A reward function that returns None is NaN in its matrix.
"""

from __future__ import annotations

import torch
from swift.rl_core.advantage import compute_advantages
from torch import Tensor

from gdpo_bench.conformance.peers.arguments import even_groups, nan_where_absent


def gdpo(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`scale_rewards="gdpo"`."""
    return _advantages(rewards, groups, weights, applicable, scale="gdpo")


def grpo(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`scale_rewards="group"`, the default."""
    return _advantages(rewards, groups, weights, applicable, scale="group")


def grpo_no_std(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`scale_rewards="none"`."""
    return _advantages(rewards, groups, weights, applicable, scale="none")


def grpo_batch_std(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`scale_rewards="batch"`."""
    return _advantages(rewards, groups, weights, applicable, scale="batch")


def rloo(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`advantage_estimator="rloo"` with `scale_rewards="none"`."""
    return _advantages(rewards, groups, weights, applicable, scale="none", estimator="rloo")


def _advantages(
    rewards: Tensor,
    groups: Tensor,
    weights: Tensor,
    applicable: Tensor | None,
    *,
    scale: str,
    estimator: str = "grpo",
) -> Tensor:
    order, size = even_groups("ms-swift", groups)
    matrix = nan_where_absent(rewards, applicable)[order]
    found, _ = compute_advantages(
        matrix, torch.as_tensor(weights, dtype=torch.float32), size, advantage_estimator=estimator, scale_rewards=scale
    )
    advantages = torch.empty_like(found)
    advantages[order] = found
    return advantages
