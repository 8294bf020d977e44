"""The front door: reward vectors in, advantages out, both checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import Normalizer, RewardBatch, all_finite, make_batch
from gdpo_bench.advantages.errors import NormalizerOutputError
from gdpo_bench.advantages.registry import make_normalizer
from gdpo_bench.core.rewards import RewardSpec


@torch.no_grad()
def compute_advantages(
    normalizer: str | Normalizer | Callable[[RewardBatch], Tensor],
    rewards: Any,
    groups: Any,
    *,
    specs: Sequence[RewardSpec] | None = None,
    weights: Mapping[str, float] | Sequence[float] | Tensor | None = None,
    lengths: Any = None,
    applicable: Any = None,
    failed: Any = None,
) -> Tensor:
    """Advantages of N rollouts.

        compute_advantages("gdpo", [[1, 0], [0, 1], [1, 1], [0, 0]], [7, 7, 7, 7])

    Args:
        normalizer: A registered name, a normalizer with its options, or a function of a `RewardBatch`.
        rewards: Reward vectors (N, K): a tensor, an array or nested lists.
        groups: Group ids (N,): integers in any order, groups of any sizes.
        specs: The K declarations; needed for weights by name and by some normalizers.
        weights: Reward name → weight, where a name left out keeps its spec's default; or K numbers;
            None for the specs' defaults, or ones without specs.
        lengths: Token counts (N,); only estimators that are about them read them.
        applicable: (N, K) bool, False where a reward is not defined for a rollout; default all True.
        failed: (N, K) bool, True where a scorer failed; default all False.

    Returns:
        Advantages (N,), finite, of the rewards' dtype (float64 for integers and lists) and device.

    Raises:
        UnknownNameError: A normalizer or a weight's name that does not exist.
        BatchError: Arrays that do not fit together, or rewards that are not finite.
        DomainError: The normalizer is not defined for such a batch.
        NormalizerOutputError: The normalizer returned something other than N finite numbers.
    """
    function = make_normalizer(normalizer) if isinstance(normalizer, str) else normalizer
    batch = make_batch(
        rewards, groups, specs=specs, weights=weights, lengths=lengths, applicable=applicable, failed=failed
    )
    advantages = function(batch)
    if not isinstance(advantages, Tensor) or advantages.shape != (len(batch),):
        came = f"shape {tuple(advantages.shape)}" if isinstance(advantages, Tensor) else type(advantages).__name__
        raise NormalizerOutputError(f"{_title(function)} must return a tensor of shape ({len(batch)},); got {came}.")
    advantages = advantages.to(batch.given.device, batch.dtype)
    if not all_finite(advantages):
        row = int((~advantages.isfinite()).nonzero()[0])
        raise NormalizerOutputError(
            f"{_title(function)} gave {advantages[row].item()} for rollout {row}, whose rewards are "
            f"{batch.rewards[row].tolist()} (group {batch.groups[row].item()}); advantages must be finite."
        )
    return advantages


def _title(function: Callable[..., Any]) -> str:
    return f"The normalizer {getattr(function, '__qualname__', None) or repr(function)}"
