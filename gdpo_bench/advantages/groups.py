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
from typing import Any

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
    counts: int | Tensor
    """Rollouts of each column's group: (P,) float64, or a number where all groups are blocks of one size."""
    filled: Tensor | None
    """Where blocks have a rollout, (G, P), or None if everywhere."""
    _owners: Tensor | None
    """The group of each column (P,), where some have several."""

    def __init__(self, ids: Tensor) -> None:
        """Find the groups.

        Args:
            ids: Group ids (N,), any integer dtype; equal ids are one group.
        """
        array = ids.numpy(force=True)
        self.ids, self.block = ids, _block(array)
        if self.block:
            self.counts, self.filled, self._owners = self.block, None, None
            self._count = len(array) // self.block
        else:
            self._lay_out(array)

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
            return values.reshape(len(self), self.block, *values.shape[1:]).sum(1)
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
            blocks = values.reshape(self._count, self.block, *values.shape[1:]).transpose(0, 1)
            return blocks.to(dtype, memory_format=torch.contiguous_format, copy=True)
        blocks = values.index_select(0, self._source).to(dtype).view(*self._empty.shape, *values.shape[1:])
        return blocks.masked_fill_(self._empty.view(*self._empty.shape, *[1] * (values.dim() - 1)), 0)

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
        return np.arange(self._count).repeat(self._sizes)

    def _lay_out(self, array: Integers) -> None:
        """Give every rollout a place in blocks."""
        n, least = len(array), array.min()
        # Small numbers are sorted by digits, several times as fast.
        keys = (array - least).astype(np.int16) if array.max() - least < 2**15 else array
        order = keys.argsort(kind="stable")
        by_id = keys[order]
        starts = np.append(0, (by_id[1:] != by_id[:-1]).nonzero()[0] + 1)
        self._count, self._sizes = len(starts), np.diff(starts, append=n)
        group = np.arange(self._count).repeat(self._sizes)
        rank = np.arange(n) - starts[group]
        rows = int(self._sizes.max())
        if rows * self._count > _WASTE * n:
            rows = n // self._count
        columns = -(-self._sizes // rows)
        first, width = columns.cumsum() - columns, int(columns.sum())
        self._index, place = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        self._index[order], place[order] = group, rank % rows * width + first[group] + rank // rows
        source, empty = np.zeros(rows * width, dtype=np.int64), np.ones(rows * width, dtype=np.bool_)
        source[place], empty[place] = np.arange(n), False
        self._place, self._source, self._empty = (self._tensor(found) for found in (place, source, empty))
        self._empty = self._empty.view(rows, width)
        self.filled = ~self._empty
        self.counts = self._tensor(self._sizes.repeat(columns).astype(np.float64))
        self._owners = None if width == self._count else self._tensor(np.arange(self._count).repeat(columns))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.ids.device)


def _block(array: Integers) -> int | None:
    """The size of all groups, if they are adjacent blocks of one size."""
    size = int((array != array[0]).argmax()) or len(array)
    if len(array) % size:
        return None
    blocks = array.reshape(-1, size)
    heads = blocks[:, 0]
    if not (blocks == heads[:, None]).all():
        return None
    distinct = (heads[1:] > heads[:-1]).all() or len(np.unique(heads)) == len(heads)
    return size if distinct else None
