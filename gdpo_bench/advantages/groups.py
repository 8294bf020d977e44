"""Which rollouts belong together, and sums over them.

Group ids may be any integers, in any order, of groups of any sizes. Where groups are blocks of
one size, as training loops make them, a sum over groups is a plain reduction over a view.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

_CACHED_VALUES = 1 << 17
"""Float64 values in a piece: one megabyte."""


class Groups:
    """N rollouts in B groups."""

    ids: Tensor
    """Group ids (N,) as given."""
    sizes: Tensor
    """Rollouts of each group (B,), int64."""
    block: int | None
    """The size of all groups, where they are adjacent blocks of one size; otherwise None."""

    def __init__(self, ids: Tensor) -> None:
        """Find the groups.

        Args:
            ids: Group ids (N,), any integer dtype; equal ids are one group.
        """
        self.ids = ids
        starts = torch.cat([ids.new_ones(1, dtype=torch.bool), ids[1:] != ids[:-1]])
        first = starts.nonzero().squeeze(1)
        runs = ids[first]
        adjacent = bool((runs[1:] > runs[:-1]).all()) or len(torch.unique(runs)) == len(runs)
        if adjacent:
            self.sizes = torch.diff(first, append=first.new_tensor([len(ids)]))
        else:
            _, self.index, self.sizes = torch.unique(ids, return_inverse=True, return_counts=True)
        even = adjacent and bool((self.sizes == self.sizes[0]).all())
        self.block = len(ids) // len(self.sizes) if even else None

    def __len__(self) -> int:
        """B, the number of groups."""
        return len(self.sizes)

    @cached_property
    def index(self) -> Tensor:
        """Each rollout's group as a number from 0 to B − 1, (N,) int64."""
        return torch.arange(len(self), device=self.ids.device).repeat_interleave(self.sizes)

    def sum(self, values: Tensor) -> Tensor:
        """Sums within groups: (N, …) → (B, …)."""
        if self.block:
            return values.reshape(len(self), self.block, *values.shape[1:]).sum(1)
        total = values.new_zeros(len(self), *values.shape[1:])
        return total.index_add_(0, self.index, values)

    def mean(self, values: Tensor) -> Tensor:
        """Means within groups: (N, …) → (B, …)."""
        return self.sum(values) / self.sizes.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))

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

    def pieces(self, columns: int) -> Iterator[tuple[slice, Groups]]:
        """Cut blocks of groups into pieces that a processor's cache can hold.

        Arithmetic within groups is bound by memory: a piece at a time, what one operation leaves is
        still in the cache for the next, and temporaries stay small.

        Args:
            columns: How many float64 values a rollout has.

        Yields:
            Rollouts and their groups; everything at once where there are no blocks, or on a GPU.
        """
        if not self.block or self.ids.device.type != "cpu":
            yield slice(None), self
            return
        step = max(1, _CACHED_VALUES // (self.block * columns)) * self.block
        for start in range(0, len(self.ids), step):
            rows = slice(start, start + step)
            piece = copy.copy(self)
            piece.__dict__.pop("index", None)
            piece.ids = self.ids[rows]
            piece.sizes = self.sizes[start // self.block : (start + step) // self.block]
            yield rows, piece
