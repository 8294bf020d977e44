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

_CACHED_VALUES = 1 << 18
"""Float64 values in a piece: two megabytes."""
_SMALL = 1 << 17
"""Up to this many values a batch is left as it is."""


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
        self.block = None
        self._space: dict[tuple[str, torch.dtype], Tensor] | None = None
        changes = ids[1:] != ids[:-1]
        runs = int(changes.count_nonzero()) + 1
        size = len(ids) // runs
        even = runs * size == len(ids) and bool(changes[size - 1 :: size].all())
        starts = torch.cat([ids.new_ones(1, dtype=torch.bool), changes])
        heads = ids[::size] if even else ids[starts]
        if not bool((heads[1:] > heads[:-1]).all()):
            _, index, sizes = torch.unique(ids, return_inverse=True, return_counts=True)
            if len(sizes) < runs:  # some group's rollouts lie apart
                self.index, self.sizes = index, sizes
                return
        if even:
            self.block, self.sizes = size, torch.full((runs,), size, device=ids.device)
        else:
            first = starts.nonzero().squeeze(1)
            self.sizes = torch.diff(first, append=first.new_tensor([len(ids)]))

    def __len__(self) -> int:
        """B, the number of groups."""
        return len(self.sizes)

    @cached_property
    def index(self) -> Tensor:
        """Each rollout's group as a number from 0 to B − 1, (N,) int64."""
        numbers = torch.arange(len(self), device=self.ids.device)
        return self.spread(numbers) if self.block else numbers.repeat_interleave(self.sizes)

    def sum(self, values: Tensor) -> Tensor:
        """Sums within groups: (N, …) → (B, …)."""
        if self.block:
            return self._blocks(values).sum(self._member_dim)
        total = values.new_zeros(len(self), *values.shape[1:])
        return total.index_add_(0, self.index, values)

    def mean(self, values: Tensor) -> Tensor:
        """Means within groups: (N, …) → (B, …)."""
        return self.sum(values) / self.sizes.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))

    def sum_squares(self, values: Tensor) -> Tensor:
        """Sums of squares within groups: (N, …) → (B, …)."""
        out = None if self._space is None else self._scratch("squares", values.shape, values.dtype)
        return self.sum(torch.square(values, out=out))

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
            return operation(self._blocks(values), per_group.unsqueeze(self._member_dim)).reshape(values.shape)
        return operation(values, per_group[self.index])

    def spread(self, per_group: Tensor) -> Tensor:
        """Give every rollout what its group has: (B, …) → (N, …)."""
        if self.block:
            rows = per_group.unsqueeze(self._member_dim)
            return rows.repeat_interleave(self.block, dim=self._member_dim).flatten(0, 1)
        return per_group[self.index]

    def pieces(self, columns: int) -> Iterator[tuple[slice, Groups]]:
        """Cut blocks of groups into pieces that a processor's cache can hold.

        Arithmetic within groups is bound by memory: a piece at a time, what one operation leaves is
        still in the cache for the next, and temporaries stay small. A piece has its own order of
        rollouts, to which `arrange` and `restore` lead: the first ones of all groups, then all second
        ones, …, so that groups' values meet their rollouts in long rows and not in short ones. Small
        batches keep their order.

        Args:
            columns: How many float64 values a rollout has.

        Yields:
            Rollouts and their groups; everything at once where there are no blocks, or on a GPU.
        """
        if not self.block or self.ids.device.type != "cpu" or len(self.ids) * columns <= _SMALL:
            yield slice(None), self
            return
        step = max(1, _CACHED_VALUES // (self.block * columns)) * self.block
        space: dict[tuple[str, torch.dtype], Tensor] = {}
        for start in range(0, len(self.ids), step):
            rows = slice(start, start + step)
            piece = copy.copy(self)
            piece.__dict__.pop("index", None)
            piece.sizes = self.sizes[start // self.block : (start + step) // self.block]
            piece._space = space
            piece.ids = self.ids[rows]
            yield rows, piece

    def arrange(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """A copy of what this piece's rollouts have, (N, …), in the piece's order and in `dtype`.

        The next piece's copy of the same dtype may take its place in memory.
        """
        if self._space is None:
            return values.to(dtype, copy=True)
        blocks = values.unflatten(0, (len(self), -1)).transpose(0, 1)
        return self._scratch("arranged", blocks.shape, dtype).copy_(blocks).flatten(0, 1)

    def restore(self, values: Tensor) -> Tensor:
        """What the piece's rollouts have, (N, …), back in the order of the batch."""
        return values if self._space is None else self._blocks(values).transpose(0, 1).flatten(0, 1)

    @property
    def _member_dim(self) -> int:
        """Where `_blocks` counts a group's rollouts."""
        return 1 if self._space is None else 0

    def _blocks(self, values: Tensor) -> Tensor:
        """(N, …) → (B, block, …), or (block, B, …) of a piece."""
        shape = (len(self), -1) if self._space is None else (-1, len(self))
        return values.reshape(*shape, *values.shape[1:])

    def _scratch(self, use: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Memory that all pieces share: the system hands out new memory in pages, each of which costs time."""
        space = self._space if self._space is not None else {}
        if (use, dtype) not in space:  # the first piece is the largest
            space[use, dtype] = torch.empty(shape, dtype=dtype)
        return space[use, dtype].view(-1)[: shape.numel()].view(shape)
