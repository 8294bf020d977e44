"""Pareto rank: credit is the front of the group that a rollout is on.

Source: Artessay/Amo, `amo_baselines/pareto.py` (2026; no paper found). A rollout dominates another one that it is
nowhere worse than and somewhere better; the first front are those that none dominates, the second those that none
but the first front dominates, and so on. With s = −(number of the front),

    A = (s − mean_group(s)) / (std_group(s) + ε)

Only the sign of a weight matters, and 0 leaves a reward out. Time grows with the square of a group's size.
Departs in two points:

1. The code adds a crowding distance, which gives identical rollouts different credit by their order: left out.
2. A reward that a rollout does not have stands at its group's mean.

    python -m gdpo_bench.run --normalizers pareto_rank
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize
from gdpo_bench.advantages.batch import Blocks, Groups, RewardBatch
from gdpo_bench.advantages.options import Absent, check_options
from gdpo_bench.advantages.registry import register_normalizer

_PAIRS_AT_ONCE = 2**22


@register_normalizer("pareto_rank")
@dataclass(frozen=True)
class ParetoRank:
    """Normalizes the number of the non-dominated front. Weights act by their sign."""

    eps: float = 1e-6
    """Added to standard deviations."""
    ddof: int = 1
    """1 for the sample standard deviation, 0 for the population's."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed)
        values, present, rows = rewards.values, rewards.present, None
        if present is not None:
            rows = present.any(2)
            means = batch.grouping.total(values) / rewards.counts
            values = torch.where(present, values, means)
        signed = batch.grouping.restore(values * batch.weights.sign())
        there = None if rows is None else batch.grouping.restore(rows)
        credit = batch.grouping.arrange(-_fronts(signed, batch.grouping, there), torch.float64)
        total = Blocks(credit, batch.grouping, torch.float64, rows, None, rewards.everything)
        return batch.grouping.restore(standardize(total, eps=self.eps, ddof=self.ddof))


def _fronts(values: Tensor, groups: Groups, there: Tensor | None) -> Tensor:
    """The front of each rollout (N,), from 0, by its values (N, K); those that are not there are on none."""
    found = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    for members in _alike(groups):
        for part in members.split(max(1, _PAIRS_AT_ONCE // members.shape[1] ** 2)):
            inside = part >= 0
            if there is not None:
                inside = inside & there[part]
            ranks = _ranks(values[part], inside)
            found[part[inside]] = ranks[inside]
    return found


def _ranks(values: Tensor, inside: Tensor) -> Tensor:
    """The fronts (B, G) of B groups by values (B, G, K); `inside` (B, G) marks who takes part."""
    first, second = values.unsqueeze(2), values.unsqueeze(1)
    dominates = (first >= second).all(3)
    dominates &= ~dominates.transpose(1, 2)  # [b, i, j]: i is nowhere worse than j, and not the other way round
    dominates &= inside.unsqueeze(2)
    ranks, behind = torch.zeros(inside.shape, dtype=torch.float64, device=values.device), dominates.any(1)
    while bool(behind.any()):
        ranks += behind
        dominates &= behind.unsqueeze(2)  # who is on the front that was just counted dominates no more
        behind = dominates.any(1)
    return ranks


def _alike(groups: Groups) -> Iterator[Tensor]:
    """Members (B, G) of groups of like size, at most twice as many as there are; −1 where there is none."""
    sizes = groups.sizes
    if groups.block:
        yield torch.arange(len(groups.ids), device=sizes.device).view(-1, groups.block)
        return
    order, starts = groups.index.argsort(stable=True), sizes.cumsum(0) - sizes
    magnitudes = (sizes - 1).clamp(min=1).log2().floor()
    for magnitude in magnitudes.unique():
        chosen = magnitudes == magnitude
        places = torch.arange(int(sizes[chosen].max()), device=sizes.device)
        filled = places < sizes[chosen, None]
        found = (starts[chosen, None] + places).clamp(max=len(order) - 1)
        yield order[found].masked_fill(~filled, -1)
