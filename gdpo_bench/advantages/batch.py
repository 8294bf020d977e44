"""What a normalizer is, and what it sees: reward vectors, the groups that their rollouts belong to, and both in blocks.

Group ids may be any integers, in any order, of groups of any sizes. Estimators work on *blocks*: the
first rollouts of all groups, then all second ones, …, so that a group's statistic is a reduction
over the first axis, and meets its rollouts again by plain broadcasting. Groups of one size that lie
side by side, as training loops make them, are blocks already; others are filled up with zeros.

What belongs where is found by numpy, also for tensors on a GPU: it is little, and many small
operations there cost more than one copy of the ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gdpo_bench.core.rewards import RewardSpec

_WASTE = 4
"""How many times as large as the batch its blocks may be; beyond, long groups are folded."""
Integers = NDArray[np.int64]


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
        return self.given.shape[0]

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


class Groups:
    """N rollouts in B groups; in blocks, P columns: one a group, or several where long groups are folded."""

    ids: Tensor
    """Group ids (N,) as given."""
    block: int | None
    """The size of all groups, where they are adjacent blocks of one size; otherwise None."""
    counts: float | Tensor
    """Rollouts of each column's group: (P,) float64, or a number where all groups are blocks of one size."""
    filled: Tensor | None
    """Where blocks have a rollout, (G, P), or None if everywhere."""
    largest: int
    """Rollouts of the largest group."""
    _owners: Tensor | None
    """The group of each column (P,), where some have several."""

    def __init__(self, ids: Tensor) -> None:
        """Find the groups.

        Args:
            ids: Group ids (N,), any integer dtype; equal ids are one group.
        """
        array = ids.numpy(force=True)
        self.ids, self.block, self._owners = ids, _block(array), None
        if self.block:
            self.counts, self.largest, self.filled = float(self.block), self.block, None
            self._count = len(array) // self.block
        else:
            self._lay_out(array)

    def __len__(self) -> int:
        """B, the number of groups."""
        return self._count

    @property
    def smallest(self) -> int:
        """Rollouts of the smallest group."""
        return self.block or int(self._sizes.min())

    @cached_property
    def sizes(self) -> Tensor:
        """Rollouts of each group (B,), int64."""
        return self._tensor(np.full(self._count, self.block) if self.block else self._sizes)

    @cached_property
    def index(self) -> Tensor:
        """Each rollout's group as a number from 0 to B − 1, (N,) int64."""
        if self.block:
            return self._tensor(np.arange(self._count).repeat(self.block))
        index = np.empty(len(self._order), dtype=np.int64)
        index[self._order] = np.arange(self._count).repeat(self._sizes)
        return self._tensor(index)

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
        assert self.filled is not None
        padded = torch.cat([values.to(dtype), values.new_zeros(1, *values.shape[1:], dtype=dtype)])
        return padded.index_select(0, self._source).view(*self.filled.shape, *values.shape[1:])

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

    def mean_of_groups(self, columns: Tensor) -> Tensor:
        """Mean over groups, each counted once, of what the columns of blocks have: (P, …) → (…)."""
        if self._owners is None or self.filled is None:
            return columns.mean(0)
        shares = self.filled.sum(0) / self.counts
        return (columns * shares.to(columns.dtype).reshape(-1, *[1] * (columns.dim() - 1))).sum(0) / len(self)

    def _lay_out(self, array: Integers) -> None:
        """Give every rollout a place in blocks."""
        n, small = len(array), array.astype(np.int16)
        # Small numbers are sorted by digits, several times as fast.
        keys = array if np.count_nonzero(small != array) else small
        self._order = keys.argsort(kind="stable")
        by_id = keys[self._order]
        bounds = np.concatenate(([0], (by_id[1:] != by_id[:-1]).nonzero()[0] + 1, [n]))
        starts, self._sizes = bounds[:-1], bounds[1:] - bounds[:-1]
        self._count, self.largest = len(starts), int(self._sizes.max())
        rows, lengths, counts = self.largest, self._sizes, self._sizes
        if rows * self._count > _WASTE * n:
            rows = n // self._count
            columns = -(-self._sizes // rows)
            owners = np.arange(self._count).repeat(columns)
            done = rows * (np.arange(len(owners)) - (columns.cumsum() - columns)[owners])
            starts, counts = starts[owners] + done, self._sizes[owners]
            lengths = np.minimum(counts - done, rows)
            self._owners = self._tensor(owners)
        row = np.arange(rows)[:, None]
        filled = row < lengths
        # Where a block has no rollout it takes an extra one, number n.
        source = np.concatenate((self._order, [n]))[np.where(filled, starts + row, n)]
        place = np.empty(n + 1, dtype=np.int64)
        place[source] = np.arange(source.size).reshape(source.shape)
        self._source, self._place = self._tensor(source.ravel()), self._tensor(place[:n])
        self.filled, self.counts = self._tensor(filled), self._tensor(counts.astype(np.float64))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.ids.device)


def _block(array: Integers) -> int | None:
    """The size of all groups, if they are adjacent blocks of one size."""
    size = int((array != array[0]).argmax()) or len(array)
    if len(array) % size:
        return None
    blocks = array.reshape(-1, size)
    heads = blocks[:, 0]
    if np.count_nonzero(blocks != heads[:, None]):
        return None
    rising = not np.count_nonzero(heads[1:] <= heads[:-1])
    return size if rising or (size > 1 and len(np.unique(heads)) == len(heads)) else None


@dataclass(frozen=True)
class Blocks:
    """What rollouts have, with which statistics within groups are made."""

    values: Tensor
    """(G, P, …), see `Groups`; 0 where nothing enters."""
    groups: Groups
    dtype: torch.dtype
    """The precision in which the rewards came."""
    present: Tensor | None = None
    """Mask like `values`, or that broadcasts to it: what enters the statistics; None: everything."""
    sizes: Tensor | None = None
    """Like `values`, where they are sums: the sums of their terms' sizes."""
    everything: bool = False
    """Whether all rollouts enter, and `present` only tells where blocks have one."""

    @cached_property
    def presence(self) -> Tensor | None:
        """`present` as a factor: 1 where something enters, 0 elsewhere."""
        return None if self.present is None else self.present.to(self.values.dtype)

    @cached_property
    def counts(self) -> float | Tensor:
        """How many of each group enter the statistics, at least 1: (P, …), or one number for all."""
        if self.presence is None:
            return self.groups.counts
        if self.everything and isinstance(self.groups.counts, Tensor):
            return self.groups.counts.to(self.values.dtype).view(-1, *[1] * (self.values.dim() - 2))
        return self.groups.total(self.presence).clamp_(min=1)

    def degrees(self, lost: int) -> float | Tensor:
        """Degrees of freedom: `counts` less those that are lost, at least 1."""
        left = self.counts - lost
        return left.clamp(min=1) if isinstance(left, Tensor) else max(left, 1.0)

    def extremes(self) -> tuple[Tensor, Tensor]:
        """The largest and the smallest value of each group, (P, …)."""
        absent = None if self.present is None else ~self.present
        highest, lowest = (
            self.groups.highest(one if absent is None else one.masked_fill(absent, -torch.inf))
            for one in (self.values, -self.values)
        )
        return highest, -lowest

    @property
    def term_sizes(self) -> Tensor:
        """How large the terms of each value are together, like `values`."""
        return self.values.abs() if self.sizes is None else self.sizes

    def rows(self) -> Tensor | None:
        """Which rollouts have anything that enters the statistics, (N,), or None if all have."""
        if self.present is None or self.everything:
            return None
        there = self.present.any(2) if self.present.dim() > 2 else self.present
        rows = self.groups.restore(there)
        return None if bool(rows.all()) else rows
