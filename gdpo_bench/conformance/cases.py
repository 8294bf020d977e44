"""What the properties are tried on: small batches of reward vectors, drawn and shrunk by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from gdpo_bench.core.rewards import RewardSpec

GRID = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0)
"""Rewards far enough apart that no property hangs on rounding, and none negative."""
TOLERANCE = 1e-4
"""How far two advantages may differ, relative to the largest, that should be equal: float32 noise."""
EPSILON = 1e-4
"""The largest ε that the scale properties make room for; TRL's."""


@dataclass(frozen=True)
class Case:
    """One batch. Plain lists, so that a counterexample prints as something to paste."""

    rewards: list[list[float]]
    """N rows of K."""
    groups: list[int]
    weights: list[float]
    lengths: list[int]
    dtype: torch.dtype = torch.float64
    applicable: list[list[bool]] | None = None
    failed: list[list[bool]] | None = None
    highs: tuple[float, ...] | None = None
    """Upper ends of the declared ranges; by default 3, 6, 9, …"""
    by_name: bool = False
    """Whether to hand over the weights by name, last reward first."""

    @property
    def k(self) -> int:
        """K, the number of rewards."""
        return len(self.weights)

    @property
    def tensor(self) -> Tensor:
        """Rewards (N, K) in the case's dtype."""
        return torch.tensor(self.rewards, dtype=self.dtype).reshape(len(self.rewards), self.k)

    @property
    def specs(self) -> tuple[RewardSpec, ...]:
        """Declarations of the K rewards."""
        highs = self.highs or tuple(3.0 * (i + 1) for i in range(self.k))
        return tuple(RewardSpec(f"reward_{i}", 0, high) for i, high in enumerate(highs))

    def rows(self, chosen: list[int]) -> Case:
        """The batch of the chosen rollouts alone."""

        def take(values: list[Any] | None) -> Any:
            return None if values is None else [values[i] for i in chosen]

        return replace(
            self,
            rewards=take(self.rewards),
            groups=take(self.groups),
            lengths=take(self.lengths),
            applicable=take(self.applicable),
            failed=take(self.failed),
        )

    def with_rewards(self, rewards: Tensor) -> Case:
        """The same batch with other rewards (N, K)."""
        return replace(self, rewards=rewards.tolist())

    def __str__(self) -> str:
        """The parts that matter, one a line."""
        if len(self.groups) > 60:
            return f"{self.rows(list(range(12)))}\n… {len(self.groups)} rollouts in {len(set(self.groups))} groups"
        lines = [f"rewards = {self.rewards}", f"groups = {self.groups}"]
        if any(weight != 1 for weight in self.weights):
            lines.append(f"weights = {self.weights}")
        if any(length != 10 for length in self.lengths):
            lines.append(f"lengths = {self.lengths}")
        if self.applicable is not None:
            lines.append(f"applicable = {self.applicable}")
        if self.failed is not None:
            lines.append(f"failed = {self.failed}")
        if self.highs is not None:
            lines.append(f"highs = {self.highs}")
        if self.dtype != torch.float64:
            lines.append(f"dtype = {self.dtype}")
        return "\n".join(lines)


@st.composite
def batches(
    draw: st.DrawFn,
    *,
    groups: tuple[int, int] = (1, 3),
    sizes: tuple[int, int] = (2, 4),
    even: bool = True,
    k: tuple[int, int] = (1, 3),
    values: st.SearchStrategy[float] | None = None,
    weights: st.SearchStrategy[float] | None = None,
    lengths: bool = False,
    dtypes: tuple[torch.dtype, ...] = (torch.float64,),
) -> Case:
    """A batch of groups that lie side by side.

    Args:
        draw: Hypothesis's.
        groups: Least and greatest number of groups.
        sizes: Least and greatest size of a group.
        even: Whether all groups have one size.
        k: Least and greatest number of rewards.
        values: What a reward can be; by default the grid.
        weights: What a weight can be; by default 1.
        lengths: Whether token counts differ.
        dtypes: What dtypes the rewards can have.
    """
    count = draw(st.integers(*groups))
    size = st.integers(*sizes)
    group_sizes = [draw(size)] * count if even else [draw(size) for _ in range(count)]
    n, columns = sum(group_sizes), draw(st.integers(*k))
    value = st.sampled_from(GRID) if values is None else values
    row = st.lists(value, min_size=columns, max_size=columns)
    weight = st.just(1.0) if weights is None else weights
    return Case(
        rewards=draw(st.lists(row, min_size=n, max_size=n)),
        groups=[group for group, size_ in enumerate(group_sizes) for _ in range(size_)],
        weights=draw(st.lists(weight, min_size=columns, max_size=columns)),
        lengths=draw(st.lists(st.integers(1, 100), min_size=n, max_size=n)) if lengths else [10] * n,
        dtype=draw(st.sampled_from(dtypes)),
    )


POSITIVE = st.sampled_from((1.0, 2.0, 0.5))
"""Weights that no rounding touches."""


def without_one(case: Case) -> st.SearchStrategy[Case]:
    """Rollout 0 lacks reward 0, as not applicable or as failed."""
    return _absent(case, [[i == j == 0 for j in range(case.k)] for i in range(len(case.groups))])


def without_rollout(case: Case) -> st.SearchStrategy[Case]:
    """Rollout 0 lacks all rewards, as not applicable or as failed."""
    return _absent(case, [[i == 0] * case.k for i in range(len(case.groups))])


def _absent(case: Case, absent: list[list[bool]]) -> st.SearchStrategy[Case]:
    applicable = [[not entry for entry in row] for row in absent]
    return st.sampled_from((replace(case, applicable=applicable), replace(case, failed=absent)))
