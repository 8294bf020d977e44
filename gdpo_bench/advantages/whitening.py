"""Whitening of finished advantages: zero mean and unit spread over a batch.

Frameworks disagree over what a batch is made of. Counting each rollout once (`sequence`) keeps
rollouts without signal at 0. Counting each token once (`token`: verl, the GDPO authors' verl)
shifts them away from 0 and makes advantages depend on lengths. Whitening each group by itself
(`group`: axolotl's streaming trainer) takes back what GDPO has gained over GRPO.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.blocks import Blocks
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.normalization import EPS64, rounding, standardize
from gdpo_bench.advantages.options import Scope, ZeroVariance


def whiten(
    values: Tensor,
    batch: RewardBatch,
    *,
    eps: float = 1e-6,
    ddof: int = 1,
    scope: Scope = "sequence",
    eps_in_root: bool = False,
    zero_variance: ZeroVariance = "zero",
    rows: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """(x − mean) / (std + ε) over the scope.

    Args:
        values: (N,).
        batch: The batch.
        eps: Added to the standard deviation.
        ddof: 1 for the sample standard deviation, 0 for the population's.
        scope: What counts once.
        eps_in_root: Whether ε is added to the variance (verl) and not to the standard deviation; not of `group`.
        zero_variance: What becomes of equal values.
        rows: Mask (N,): which rollouts enter the statistics; the others become 0.
        sizes: (N,), the size of the terms that each value is a sum of.

    Returns:
        (N,); by `zero` a zero stays one wherever the mean is 0 up to rounding.

    Raises:
        DomainError: Counting tokens needs token counts.
    """
    if scope == "group":
        blocks = _blocks(values, batch, rows, sizes)
        return batch.grouping.restore(standardize(blocks, eps=eps, ddof=ddof, zero_variance=zero_variance))
    counts = _token_counts(batch, values.dtype) if scope == "token" else None
    if rows is not None:
        counts = rows.to(values.dtype) if counts is None else counts * rows

    n = float(len(values) if counts is None else counts.sum())
    if n <= 1:
        return torch.zeros_like(values)

    def mean_of(terms: Tensor) -> float:
        return float(terms.sum() if counts is None else counts @ terms) / n

    def mean_square() -> float:
        return float(torch.linalg.vector_norm(values)) ** 2 / n if counts is None else mean_of(values.square())

    exact, mean, variance = zero_variance == "zero", mean_of(values), mean_square()
    size = math.sqrt(variance) if sizes is None else mean_of(sizes)
    if not exact or abs(mean) > 2 * len(values) * EPS64 * size:
        values = values - mean
        variance = mean_square()
    variance *= n / (n - ddof)
    if exact and math.sqrt(variance) <= rounding(batch.dtype, len(values)) * size:
        return torch.zeros_like(values)
    divisor = math.sqrt(variance + eps) if eps_in_root else math.sqrt(variance) + eps
    if variance == 0 and (zero_variance != "eps" or not divisor):
        divisor = 1.0
    whitened = values / divisor
    return whitened if rows is None else torch.where(rows, whitened, 0.0)


def _token_counts(batch: RewardBatch, dtype: torch.dtype) -> Tensor:
    if batch.lengths is None:
        raise DomainError("Whitening over tokens (scope='token') needs `lengths`, the token counts; pass lengths.")
    return batch.lengths.to(dtype)


def _blocks(values: Tensor, batch: RewardBatch, rows: Tensor | None, sizes: Tensor | None) -> Blocks:
    groups, dtype = batch.grouping, values.dtype
    present = groups.filled if rows is None else groups.arrange(rows, torch.bool)
    terms = None if sizes is None else groups.arrange(sizes, dtype)
    return Blocks(groups.arrange(values, dtype), groups, batch.dtype, present, terms)
