"""Which rollouts belong together, and sums over them.

Group ids may be any integers, in any order, of groups of any sizes. Where groups are blocks of
one size, as training loops make them, a sum over groups is a plain reduction over a view.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor


class Groups:
    """N rollouts in B groups."""

    def __init__(self, ids: Tensor) -> None:
        """Find the groups.

        Args:
            ids: Group ids (N,), any integer dtype; equal ids are one group.
        """
        self.ids = ids
        """Group ids (N,) as given."""
        starts = torch.cat([ids.new_ones(1, dtype=torch.bool), ids[1:] != ids[:-1]])
        first = starts.nonzero().squeeze(1)
        run_ids = ids[first]
        adjacent = bool((run_ids[1:] > run_ids[:-1]).all()) or len(torch.unique(run_ids)) == len(run_ids)
        if adjacent:
            self.sizes = torch.diff(first, append=first.new_tensor([len(ids)]))
            self._starts = starts
        else:
            _, self.index, self.sizes = torch.unique(ids, return_inverse=True, return_counts=True)
        self.block = len(ids) // len(self.sizes) if adjacent and bool((self.sizes == self.sizes[0]).all()) else None
        """The size of all groups, where they are adjacent blocks of one size; otherwise None."""

    def __len__(self) -> int:
        """B, the number of groups."""
        return len(self.sizes)

    sizes: Tensor
    """Rollouts of each group (B,), int64."""

    @cached_property
    def index(self) -> Tensor:
        """Each rollout's group as a number from 0 to B − 1, (N,) int64."""
        return self._starts.cumsum(0) - 1

    def sum(self, values: Tensor) -> Tensor:
        """Sums within groups: (N, …) → (B, …)."""
        if self.block:
            return values.reshape(len(self), self.block, *values.shape[1:]).sum(1)
        total = values.new_zeros(len(self), *values.shape[1:])
        return total.index_add_(0, self.index, values)

    def combine(self, operation: Callable[[Tensor, Tensor], Tensor], values: Tensor, per_group: Tensor) -> Tensor:
        """`operation(values, what the rollout's group has)`, element by element.

        Args:
            operation: Such as `torch.sub`.
            values: (N, …).
            per_group: (B, …).

        Returns:
            (N, …).
        """
        if self.block:
            blocks = values.reshape(len(self), self.block, *values.shape[1:])
            return operation(blocks, per_group[:, None]).reshape(values.shape)
        return operation(values, per_group[self.index])

    def spread(self, per_group: Tensor) -> Tensor:
        """Give every rollout what its group has: (B, …) → (N, …)."""
        if self.block:
            return per_group.repeat_interleave(self.block, dim=0)
        return per_group[self.index]
