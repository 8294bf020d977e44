"""Leave-one-out: a rollout against its fellows, the other rollouts of its group.

A group of one has no fellows; what is said of them there is finite, and replaced by the rule for singletons.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import Blocks


def minus_fellows(blocks: Blocks, centred: Tensor) -> Tensor:
    """Values less their fellows' mean, in place of values less their group's, (G, P, …)."""
    return centred.mul_(blocks.counts / blocks.degrees(1))


def fellows_deviations(blocks: Blocks, values: Tensor, ddof: int) -> Tensor:
    """Standard deviation of each rollout's fellows, (G, P, …), from their first two moments, as NeMo-RL's.

    In float32 the difference of moments is noise where the fellows are equal, which is how one odd rollout of
    eight reaches an advantage of −2154.

    Args:
        blocks: What the values are of.
        values: (G, P, …), perhaps less a constant of their group; 0 where nothing enters.
        ddof: 1 for the sample standard deviation, 0 for the population's.
    """
    total, others = blocks.groups.total, blocks.degrees(1)
    mean, mean_square = (total(values) - values) / others, (total(values.square()) - values.square()) / others
    return ((mean_square - mean.square()) * (others / blocks.degrees(1 + ddof))).clamp_(min=0).sqrt_()


def fellows_equal(blocks: Blocks, slack: Tensor | float) -> Tensor:
    """Whether all fellows of a rollout have one value, (G, P, …).

    Args:
        blocks: Values (G, P, …).
        slack: How far equal ones may be apart, (P, …).
    """
    highest, lowest = blocks.extremes()
    found = torch.zeros_like(blocks.values, dtype=torch.bool)
    # The values of all but this one are the group's largest, or its smallest.
    for same in (blocks.values >= highest - slack, blocks.values <= lowest + slack):
        there = (same if blocks.present is None else same & blocks.present).to(blocks.values.dtype)
        found |= blocks.groups.total(there) - there == blocks.counts - 1
    return found
