"""Which rollouts belong together, and sums over them.

Group ids may be any integers, in any order, of groups of any sizes. Estimators work on *blocks*: the
first rollouts of all groups, then all second ones, …, so that a group's statistic is a reduction
over the first axis, and meets its rollouts again by plain broadcasting. Groups of one size that lie
side by side, as training loops make them, are blocks already; others are filled up with zeros.

What belongs where is found by numpy, also for tensors on a GPU: it is little, and many small
operations there cost more than one copy of the ids.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WASTE = 4
"""How many times as large as the batch its blocks may be; beyond, long groups are folded."""
Integers = NDArray[np.int64]


class Groups:
    """N rollouts in B groups; in blocks, P columns: one a group, or several where long groups are folded."""

    ids: Tensor
    """Group ids (N,) as given."""
    block: int | None
    """The size of all groups, where they are adjacent blocks of one size; otherwise None."""

    def __init__(self, ids: Tensor) -> None:
        """Find the groups.

        Args:
            ids: Group ids (N,), any integer dtype; equal ids are one group.
        """
        self.ids, self.block = ids, None
        array = ids.numpy(force=True)
        ends = (array[1:] != array[:-1]).nonzero()[0]  # the last rollouts of runs of equal ids, but for the last run
        self._count, n = len(ends) + 1, len(array)
        size = n // self._count
        if size * self._count == n and (ends == np.arange(size - 1, n - 1, size)).all():
            heads = array[::size]
            self.block = size
        else:
            heads = array[np.append(ends, n - 1)]
        if not (heads[1:] > heads[:-1]).all() and len(np.unique(heads)) < len(heads):  # some group's rollouts lie apart
            _, self._index, self._sizes = np.unique(array, return_inverse=True, return_counts=True)
            self._count, self.block = len(self._sizes), None
        elif not self.block:
            self._sizes = np.diff(ends, prepend=-1, append=n - 1)

    def __len__(self) -> int:
        """B, the number of groups."""
        return self._count

    @cached_property
    def sizes(self) -> Tensor:
        """Rollouts of each group (B,), int64."""
        return self._tensor(self._sizes)

    @cached_property
    def index(self) -> Tensor:
        """Each rollout's group as a number from 0 to B − 1, (N,) int64."""
        return self._tensor(self._index)

    # Values of rollouts, in their order

    def sum(self, values: Tensor) -> Tensor:
        """Sums within groups: (N, …) → (B, …)."""
        if self.block:
            return values.view(len(self), self.block, *values.shape[1:]).sum(1)
        return values.new_zeros(len(self), *values.shape[1:]).index_add_(0, self.index, values)

    def mean(self, values: Tensor) -> Tensor:
        """Means within groups: (N, …) → (B, …)."""
        return self.sum(values) / self.sizes.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))

    def spread(self, per_group: Tensor) -> Tensor:
        """Give every rollout what its group has: (B, …) → (N, …)."""
        if self.block:
            return per_group.unsqueeze(1).expand(-1, self.block, *per_group.shape[1:]).flatten(0, 1)
        return per_group[self.index]

    # Values of rollouts, in blocks

    def arrange(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """A copy in blocks: (N, …) → (G, P, …), of a dtype; zeros where a block has no rollout."""
        if self.block:
            blocks = values.view(len(self), self.block, *values.shape[1:]).transpose(0, 1)
            return torch.empty(blocks.shape, dtype=dtype, device=values.device).copy_(blocks)
        rows, columns = self._shape
        blocks = torch.zeros(rows * columns, *values.shape[1:], dtype=dtype, device=values.device)
        return blocks.index_copy_(0, self._place, values.to(dtype)).view(rows, columns, *values.shape[1:])

    def restore(self, blocks: Tensor) -> Tensor:
        """Back in the order of the rollouts: (G, P, …) → (N, …)."""
        if self.block:
            return blocks.transpose(0, 1).flatten(0, 1)
        return blocks.flatten(0, 1).index_select(0, self._place)

    def total(self, blocks: Tensor) -> Tensor:
        """Sums of blocks within groups: (G, P, …) → (P, …)."""
        found = blocks.sum(0)
        if self._owners is None:
            return found
        return found.new_zeros(len(self), *found.shape[1:]).index_add_(0, self._owners, found)[self._owners]

    def highest(self, blocks: Tensor) -> Tensor:
        """Maxima of blocks within groups: (G, P, …) → (P, …)."""
        found = blocks.amax(0)
        if self._owners is None:
            return found
        owners = self._owners.reshape(-1, *[1] * (found.dim() - 1)).expand_as(found)
        per_group = found.new_full((len(self), *found.shape[1:]), -torch.inf)
        return per_group.scatter_reduce_(0, owners, found, "amax")[self._owners]

    @cached_property
    def filled(self) -> Tensor | None:
        """Where blocks have a rollout, (G, P), or None if everywhere."""
        return None if self.block else self.arrange(torch.ones_like(self.ids, dtype=torch.bool), torch.bool)

    @cached_property
    def counts(self) -> int | Tensor:
        """Rollouts of each column's group: (P,) float64, or a number where all groups are of one size."""
        if self.block:
            return self.block
        return (self.sizes if self._owners is None else self.sizes[self._owners]).double()

    @property
    def largest(self) -> int:
        """Rollouts of the largest group."""
        return self.block or int(self._sizes.max())

    @property
    def smallest(self) -> int:
        """Rollouts of the smallest group."""
        return self.block or int(self._sizes.min())

    @cached_property
    def _sizes(self) -> Integers:
        return np.full(self._count, self.block)

    @cached_property
    def _index(self) -> Integers:
        return np.arange(len(self)).repeat(self._sizes)

    @cached_property
    def _shape(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        rows = self.largest
        if rows * len(self) <= _WASTE * len(self.ids):
            return rows, len(self)
        rows = len(self.ids) // len(self)
        return rows, int(self._columns(rows).sum())

    def _columns(self, rows: int) -> Integers:
        """Columns of each group (B,), where blocks have so many rows."""
        columns: Integers = -(-self._sizes // rows)
        return columns

    @cached_property
    def _owners(self) -> Tensor | None:
        """The group of each column (P,), or None where groups have one column each."""
        if self.block or self._shape[1] == len(self):
            return None
        return self._tensor(np.arange(len(self)).repeat(self._columns(self._shape[0])))

    @cached_property
    def _place(self) -> Tensor:
        """Where each rollout stands in flattened blocks, (N,)."""
        rows, width = self._shape
        rank = np.empty(len(self.ids), dtype=np.int64)
        by_group = np.arange(len(rank)) - (self._sizes.cumsum() - self._sizes).repeat(self._sizes)
        rank[self._index.argsort(kind="stable")] = by_group
        columns = self._columns(rows)
        first = columns.cumsum() - columns
        return self._tensor(rank % rows * width + first[self._index] + rank // rows)

    def _tensor(self, array: Integers) -> Tensor:
        return torch.from_numpy(array).to(self.ids.device)
