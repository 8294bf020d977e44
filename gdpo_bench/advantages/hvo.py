"""HVO: multiply the rewards, so that balance counts.

Source: arXiv 2510.19325 and its code (alg-znsy-li/HVO_1, `grpotrainer.py`). With the batch's smallest value of each
reward and margin = 0.1,

    s = Π_k w_k (r_k − (min_batch(r_k) − margin))
    A = (s − mean_group(s)) / (std_group(s) + ε)

A weight scales the product, and cancels but for ε. The authors' run script turns the method and the division off.
Departs in two points:

1. A reward that a rollout does not have is a factor of 1.
2. Products that are equal throughout a group up to rounding give exactly 0.

    python -m gdpo_bench.run --normalizers hvo
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from gdpo_bench.advantages.arithmetic import reward_blocks, standardize
from gdpo_bench.advantages.batch import Blocks, RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.options import Absent, Singleton, check_options
from gdpo_bench.advantages.registry import register_normalizer


@register_normalizer("hvo")
@dataclass(frozen=True)
class HVO:
    """Normalizes the volume below the rewards. Weights act on rewards, and cancel."""

    eps: float = 1e-6
    """Added to standard deviations."""
    ddof: int = 1
    """1 for the sample standard deviation, 0 for the population's."""
    singleton: Singleton = "zero"
    """What becomes of a group of one."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    margin: float = 0.1
    """How far below the batch's smallest value a volume begins."""

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.margin >= 0 and math.isfinite(self.margin)):
            raise OptionError(f"Option margin must be a finite number, at least 0; got {self.margin!r}.")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed)
        values, present = rewards.values, rewards.present
        lows = (values if present is None else values.masked_fill(~present, math.inf)).amin((0, 1))
        factors = (values - lows + self.margin) * batch.weights
        rows = None if present is None else present.any(2)
        if present is not None:
            factors = factors.masked_fill(~present, 1.0)
        volumes = factors.prod(2)
        if rows is not None:
            volumes = volumes * rows
        total = Blocks(volumes, batch.grouping, batch.dtype, rows, None, rewards.everything)
        return batch.grouping.restore(standardize(total, eps=self.eps, ddof=self.ddof, singleton=self.singleton))
