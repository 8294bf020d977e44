"""Our arguments in the shapes that frameworks expect."""

from __future__ import annotations

import torch
from torch import Tensor

from gdpo_bench.advantages.errors import DomainError


def nan_where_absent(rewards: Tensor, applicable: Tensor | None) -> Tensor:
    """Rewards (N, K) in float32, NaN where a rollout does not have one."""
    matrix = rewards.float()
    return matrix if applicable is None else matrix.masked_fill(~torch.as_tensor(applicable), float("nan"))


def even_groups(framework: str, groups: Tensor) -> tuple[Tensor, int]:
    """The order (N,) that brings rollouts of a group side by side, and the size of all groups.

    Raises:
        DomainError: Groups differ in size.
    """
    ids = torch.as_tensor(groups)
    _, sizes = ids.unique(return_counts=True)
    if len(sizes.unique()) != 1:
        raise DomainError(f"{framework} needs groups of one size.")
    return ids.argsort(stable=True), int(sizes[0])
