"""Centring and scaling within groups and over the batch, with the rules that keep zeros exact.

Floating point leaves noise where arithmetic on paper leaves 0, and dividing by a small standard
deviation makes the noise as large as a signal. Hence three rules, applied by all normalizers here:

1. Values that are equal throughout a group up to rounding are equal: they are centred to exactly 0.
2. Terms that cancel up to rounding cancel: their sum is exactly 0 (`weighted_sum`).
3. A batch whose spread is rounding noise is whitened to 0, and a batch mean that is rounding noise
   is not subtracted, so that rollouts without signal stay at exactly 0 (`whiten`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import AbsentPolicy, RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.groups import Groups

EPS64 = torch.finfo(torch.float64).eps
_CANCELLED = 64 * EPS64
"""A sum this small beside the sum of its terms' sizes is what rounding left of 0."""


def rounding(dtype: torch.dtype, terms: Tensor | int) -> Tensor | float:
    """Relative spread that rounding can give to equal values.

    Args:
        dtype: The precision in which the values came.
        terms: How many of them a float64 mean adds up.

    Returns:
        Two roundings of the input, and the error of the mean.
    """
    return 2 * torch.finfo(dtype).eps + 4 * EPS64 * terms


def weighted_sum(advantages: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_k w_k A_k, exactly 0 where the terms cancel up to rounding.

    Args:
        advantages: (N, K).
        weights: (K,).

    Returns:
        The sum (N,), and the sum of the terms' sizes (N,).
    """
    total = advantages @ weights
    size = advantages.abs() @ weights.abs()
    return torch.where(total.abs() <= _CANCELLED * size, 0.0, total), size


@dataclass(frozen=True)
class GroupNorm:
    """Options that all estimators share which centre, and mostly scale, within groups."""

    eps: float = 1e-6
    """Added to standard deviations (TRL 1e-4, verl 1e-6)."""
    ddof: int = 1
    """1 for the sample standard deviation, which all frameworks use; 0 for the population's."""
    missing: AbsentPolicy = "skip"
    """A reward that is not applicable to a rollout: leave it out, or take it as 0.0."""
    failed: AbsentPolicy = "skip"
    """A reward whose scorer failed: leave it out, or take it as 0.0."""

    def __post_init__(self) -> None:
        if not (self.eps >= 0 and math.isfinite(self.eps)):
            raise OptionError(f"Option eps must be a finite number, at least 0; got {self.eps!r}.")
        if self.ddof not in (0, 1):
            raise OptionError(f"Option ddof must be 0 or 1; got {self.ddof!r}.")
        for name in ("missing", "failed"):
            if getattr(self, name) not in ("skip", "zero"):
                raise OptionError(f"Option {name} must be 'skip' or 'zero'; got {getattr(self, name)!r}.")

    def standardize(
        self,
        values: Tensor,
        groups: Groups,
        dtype: torch.dtype,
        *,
        present: Tensor | None = None,
        size: Tensor | None = None,
        scale: bool = True,
    ) -> Tensor:
        """(x − mean) / (std + ε) within groups, for each column by itself.

        Args:
            values: (N, …).
            groups: The N rollouts' groups.
            dtype: Precision in which the values came.
            present: Mask like `values`: which enter the statistics; the others become 0.
            size: Like `values`: the size of the terms that each value is a sum of, if it is one.
            scale: Whether to divide, or only to centre.

        Returns:
            Like `values`; exactly 0 throughout a group of equal values, hence in a group of one.
        """
        if present is None:
            counts = groups.sizes.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
        else:
            counts = groups.sum(present.to(values.dtype)).clamp(min=1)
            values = torch.where(present, values, 0.0)
        means = groups.sum(values) / counts
        centred = groups.combine(torch.sub, values, means)
        if present is not None:
            centred = torch.where(present, centred, 0.0)
        stds = (groups.sum(centred.square()) / (counts - self.ddof).clamp(min=1)).sqrt()
        sizes = means.abs() if size is None else groups.sum(size) / counts
        equal = stds <= rounding(dtype, counts) * sizes
        divisors = stds + self.eps if scale else torch.ones_like(stds)
        return groups.combine(torch.div, centred, divisors.masked_fill_(equal, math.inf))

    def whiten(
        self, values: Tensor, dtype: torch.dtype, *, rows: Tensor | None = None, size: Tensor | None = None
    ) -> Tensor:
        """(x − mean) / (std + ε) over the batch.

        Args:
            values: (N,).
            dtype: Precision in which the rewards came.
            rows: Mask (N,): which rollouts enter the statistics; the others become 0.
            size: (N,), the size of the terms that each value is a sum of.

        Returns:
            (N,); exact zeros stay so if the batch's mean is 0 up to rounding.
        """
        kept = values if rows is None else values[rows]
        if len(kept) <= 1:
            return torch.zeros_like(values)
        mean = kept.mean()
        mean = torch.where(mean.abs() <= 2 * len(kept) * EPS64 * kept.abs().mean(), 0.0, mean)
        std = kept.std(correction=self.ddof)
        sizes = (kept.abs() if size is None else size if rows is None else size[rows]).mean()
        noise = std <= rounding(dtype, len(kept)) * sizes
        whitened = (values - mean) / torch.where(noise, math.inf, std + self.eps)
        return whitened if rows is None else torch.where(rows, whitened, 0.0)

    def total(self, batch: RewardBatch, rewards: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Σ_k w_k r_k, where an absent reward stands at its group's mean.

        So it is neutral once the group is centred, and with K = 1 it is left out altogether.

        Args:
            batch: The batch.
            rewards: Its rewards (N, K), possibly rescaled.

        Returns:
            The sum (N,), the size of its terms (N,), and which rollouts have any reward (N,),
            or None if all have all.
        """
        present, rows = batch.present(self.missing, self.failed), None
        if present is not None:
            counts = batch.groups.sum(present.to(rewards.dtype)).clamp(min=1)
            means = batch.groups.sum(torch.where(present, rewards, 0.0)) / counts
            rewards = torch.where(present, rewards, batch.groups.spread(means))
            rows = present.any(1)
        return rewards @ batch.weights, rewards.abs() @ batch.weights.abs(), rows
