"""Random batches for comparing a preset with the framework that it reproduces, and how equal is equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

EPS32 = torch.finfo(torch.float32).eps


class Batch(NamedTuple):
    """Float32 rewards (N, K) of groups side by side, with random weights and lengths."""

    rewards: Tensor
    groups: list[int]
    weights: list[float]
    lengths: list[int]


def draw_batches(count: int, *, even: bool, seed: int = 0) -> Iterator[Batch]:
    """Binary, graded and real-valued rewards of 1 to 4 kinds, in 1 to 6 groups of 2 to 9."""
    rng = torch.Generator().manual_seed(seed)

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=rng))

    for _ in range(count):
        k, count_of_groups, size = integer(1, 4), integer(1, 6), integer(2, 9)
        sizes = [size if even else integer(2, 9) for _ in range(count_of_groups)]
        n = sum(sizes)
        binary = torch.randint(0, 2, (n, k), generator=rng).float()
        graded = torch.randint(-12, 13, (n, k), generator=rng).float() / 4
        real = torch.randn(n, k, generator=rng)
        yield Batch(
            rewards=(binary, graded, real)[integer(0, 2)],
            groups=[group for group, size in enumerate(sizes) for _ in range(size)],
            weights=[integer(1, 8) / 4 for _ in range(k)],
            lengths=[integer(1, 40) for _ in range(n)],
        )


def condition(batch: Batch) -> float:
    """How much float32 rounding a batch can amplify.

    The largest reward, or weighted sum, over the smallest deviation that divides it; then, where
    the standardized rewards nearly cancel, their size over the size of what is left.
    """
    columns = torch.cat([batch.rewards, batch.rewards @ torch.tensor(batch.weights)[:, None]], dim=1).double()
    worst, left, terms = 1.0, [], []
    ids = torch.tensor(batch.groups)
    for group in ids.unique():
        values = columns[ids == group]
        std = values.std(0)
        spread = std > 1e-6
        worst = max([worst, *(values.abs().amax(0)[spread] / std[spread]).tolist()])
        z = ((values - values.mean(0)) / std.clamp(min=1e-6) * spread)[:, :-1]
        weighted = z * torch.tensor(batch.weights)
        left.append(weighted.sum(1))
        terms.append(weighted.abs().sum(1))
    remaining, size = torch.cat(left).std().item(), torch.cat(terms).mean().item()
    return worst * max(1.0, size / max(remaining, 1e-12)) if size else worst


def tolerance(batch: Batch) -> float:
    """How far a preset may be off: 1e-6 up to a condition of 4, beyond it 8 float32 roundings times the condition."""
    return 1e-6 if condition(batch) <= 4 else 8 * EPS32 * condition(batch)
