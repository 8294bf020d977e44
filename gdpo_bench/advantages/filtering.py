"""Which groups to train on: dynamic sampling that looks at vectors.

Dynamic sampling (DAPO, arXiv 2503.14476) drops groups whose rollouts all earned the same, since
nothing is learned from them. Frameworks compare *summed* rewards for it. With several rewards that
throws away groups whose sums agree and whose vectors do not, from which GDPO learns. What counts
is whether the advantages that will be used differ from 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import Groups
from gdpo_bench.advantages.compute import make_batch
from gdpo_bench.advantages.errors import BatchError
from gdpo_bench.advantages.grpo import GRPO


def keep_groups(advantages: Tensor, groups: Any) -> Tensor:
    """Keep a group if its final advantage is nonzero anywhere.

    Args:
        advantages: (N,), from `compute_advantages`, whose zeros are exact.
        groups: Group ids (N,).

    Returns:
        Mask (N,): True for all rollouts of the groups kept.

    Raises:
        BatchError: The shapes do not fit.
    """
    ids = torch.as_tensor(groups, device=advantages.device)
    if advantages.dim() != 1 or ids.shape != advantages.shape:
        raise BatchError(
            "Expected advantages and group ids of one shape (N,); "
            f"got {tuple(advantages.shape)} and {tuple(ids.shape)}."
        )
    found = Groups(ids)
    return found.spread(found.sum((advantages != 0).long()) > 0)


def keep_groups_by_sum(rewards: Any, groups: Any, **batch: Any) -> Tensor:
    """Keep a group if its weighted sums of rewards differ: what frameworks do, for comparison.

    Args:
        rewards: (N, K).
        groups: Group ids (N,).
        **batch: `specs`, `weights`, `applicable`, `failed` as for `compute_advantages`.

    Returns:
        Mask (N,): True for all rollouts of the groups kept.
    """
    made = make_batch(rewards, groups, **batch)
    return keep_groups(GRPO(scale="none")(made), groups)
