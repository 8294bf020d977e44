"""Reward vectors that somebody recorded, in groups."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.rewards import RewardSpec


@dataclass(frozen=True, eq=False)
class RecordedRewards:
    """What N rollouts of a policy earned, those to one prompt in a group."""

    names: tuple[str, ...]
    """The K rewards."""
    values: NDArray[np.float64]
    """(N, K), NaN where a reward is absent."""
    groups: NDArray[np.int64]
    """(N,) numbers from 0."""
    ranges: tuple[tuple[float, float], ...] | None = None
    """K lowest and highest values; None: those that occur."""

    @classmethod
    def of(cls, rows: Sequence[tuple[object, dict[str, float | None]]], where: str) -> Self:
        """From a group and a reward vector for each rollout.

        Args:
            rows: Group (anything hashable) and reward → value, None where it is absent, as where its name is missing.
            where: The file, for messages.

        Raises:
            DataError: There are no rows, no rewards, or no group has two rollouts.
        """
        names = tuple(dict.fromkeys(itertools.chain.from_iterable(rewards for _, rewards in rows)))
        if not names:
            raise DataError(f"{where} holds no rewards.")
        numbers: dict[object, int] = {}
        groups = np.array([numbers.setdefault(group, len(numbers)) for group, _ in rows], dtype=np.int64)
        values = np.array([[rewards.get(name) for name in names] for _, rewards in rows], dtype=float)
        if np.bincount(groups).max() < 2:
            raise DataError(
                f"{where}: each of its {len(groups)} rollouts is a group of its own; advice needs several rollouts of "
                "one prompt in a group."
            )
        return cls(names, values, groups)

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Several records of the same rewards as one; their groups stay apart.

        Raises:
            DataError: Their rewards have other names.
        """
        first = parts[0]
        for part in parts:
            if set(part.names) != set(first.names):
                raise DataError(
                    f"The files hold other rewards: {', '.join(first.names)}, and {', '.join(part.names)}. "
                    "Give advice on each by itself, or name the common ones by --rewards."
                )
        values = [part.values[:, [part.names.index(name) for name in first.names]] for part in parts]
        offsets = np.cumsum([0] + [part.group_count for part in parts[:-1]])
        groups = [part.groups + offset for part, offset in zip(parts, offsets, strict=True)]
        return replace(first, values=np.concatenate(values), groups=np.concatenate(groups))

    @property
    def group_count(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """(N, K) whether a rollout has a reward."""
        return ~np.isnan(self.values)

    @cached_property
    def scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(K,) lowest and (K,) highest values; a reward that never varied gets a range of width 1."""
        if self.ranges is not None:
            lows, highs = np.array(self.ranges, dtype=float).T
            return lows, highs
        lows = np.where(self.present, self.values, np.inf).min(0)
        highs = np.where(self.present, self.values, -np.inf).max(0)
        for k in np.flatnonzero(~(lows < highs)):
            lows[k], highs[k] = _unit(float(lows[k]))
        return lows, highs

    @property
    def specs(self) -> tuple[RewardSpec, ...]:
        """The K declarations, for normalizers that ask for ranges. Strangers' names need not be identifiers."""
        return tuple(RewardSpec(f"reward{k}", low, high) for k, (low, high) in enumerate(zip(*self.scale, strict=True)))

    def ranged(self, ranges: Mapping[str, tuple[float, float]]) -> Self:
        """With other lowest and highest values.

        Raises:
            DataError: A reward that is not recorded, or that has values outside.
        """
        lows, highs = (bound.copy() for bound in self.scale)
        for name, (low, high) in ranges.items():
            values = self.selected([name]).values
            least, most = np.nanmin(values, initial=high), np.nanmax(values, initial=low)
            if least < low or most > high:
                raise DataError(f"{name} has values from {least:g} to {most:g}, outside [{low:g}, {high:g}].")
            k = self.names.index(name)
            lows[k], highs[k] = low, high
        return replace(self, ranges=tuple(zip(lows.tolist(), highs.tolist(), strict=True)))

    def selected(self, rewards: Sequence[str]) -> Self:
        """Only these rewards.

        Raises:
            DataError: One of them is not recorded.
        """
        for name in rewards:
            if name not in self.names:
                raise DataError(f"No reward {name!r} is recorded; there are {', '.join(self.names)}.")
        columns = [self.names.index(name) for name in rewards]
        return replace(
            self,
            names=tuple(rewards),
            values=self.values[:, columns],
            ranges=None if self.ranges is None else tuple(self.ranges[k] for k in columns),
        )


def _unit(value: float) -> tuple[float, float]:
    """A range for what always was `value`, or never was: [0, 1] where that holds it."""
    if not np.isfinite(value) or 0 <= value <= 1:
        return 0.0, 1.0
    return (value - 1, value) if value > 0 else (value, value + 1)
