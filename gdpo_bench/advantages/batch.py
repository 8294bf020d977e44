"""What a normalizer is, and what it sees: the reward vectors of a batch and all that belongs to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from gdpo_bench.advantages.groups import Groups
from gdpo_bench.core.rewards import RewardSpec


@dataclass(frozen=True, eq=False)
class RewardBatch:
    """N rollouts with K rewards each; all tensors are on one device."""

    given: Tensor
    """(N, K) as they came, in floating point, always finite; 0.0 where a reward is not applicable or
    its scorer failed. Normalizers read `rewards`."""
    grouping: Groups
    """Sums over groups, for estimators."""
    weights: Tensor
    """(K,) float64. What a weight acts on is the normalizer's own affair."""
    masks: tuple[Tensor, Tensor] | None = None
    """`applicable` and `failed`, or None where every rollout has every reward."""
    specs: tuple[RewardSpec, ...] | None = None
    """The K declarations, where the caller has them."""
    lengths: Tensor | None = None
    """Token counts (N,) float64, where the caller has them."""
    shape: tuple[int, ...] = (-1,)
    """What the caller's rewards have before K: (N,), or (P, G)."""

    def __len__(self) -> int:
        """N, the number of rollouts."""
        return len(self.given)

    @cached_property
    def rewards(self) -> Tensor:
        """(N, K) float64, finite; 0.0 where a reward is not applicable or its scorer failed."""
        return self.given.to(torch.float64)

    @property
    def complete(self) -> bool:
        """Whether every rollout has every reward."""
        return self.masks is None

    @property
    def applicable(self) -> Tensor:
        """(N, K) bool: whether the reward is defined for the rollout's task."""
        return torch.ones_like(self.given, dtype=torch.bool) if self.masks is None else self.masks[0]

    @property
    def failed(self) -> Tensor:
        """(N, K) bool: whether the reward's scorer failed."""
        return torch.zeros_like(self.given, dtype=torch.bool) if self.masks is None else self.masks[1]

    @property
    def groups(self) -> Tensor:
        """Group ids (N,): integers in any order, equal within a group."""
        return self.grouping.ids

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the rewards came in, hence the precision that they have."""
        return self.given.dtype


class Normalizer(Protocol):
    """Turns the reward vectors of a batch into one advantage for each rollout."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,), finite, on the batch's device."""
        ...
