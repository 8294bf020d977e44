"""The front door: reward vectors in, advantages out, both checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from gdpo_bench.advantages.batch import Normalizer, RewardBatch
from gdpo_bench.advantages.errors import NormalizerOutputError
from gdpo_bench.advantages.reading import all_finite, make_batch
from gdpo_bench.advantages.registry import read_normalizer
from gdpo_bench.core.rewards import RewardSpec


def compute_advantages(
    normalizer: str | Normalizer | Callable[[RewardBatch], Tensor],
    rewards: Any,
    groups: Any = None,
    *,
    names: Sequence[str] | None = None,
    specs: Sequence[RewardSpec] | None = None,
    weights: Mapping[str, float] | Sequence[float] | Tensor | None = None,
    lengths: Any = None,
    applicable: Any = None,
    failed: Any = None,
) -> Tensor:
    """Advantages of N rollouts.

        compute_advantages("gdpo:eps=1e-4", [[1, 0], [0, 1], [1, None], [0, 0]], ["q1", "q1", "q2", "q2"])

    Args:
        normalizer: A registered name, with its options as command lines write them; a normalizer with its
            options; or a function of a `RewardBatch`.
        rewards: Reward vectors (N, K), or (P, G, K) for P groups of G rollouts: a tensor, an array or nested
            lists, in which None is a reward that is not applicable.
        groups: Group ids (N,): integers or texts in any order, groups of any sizes. Not needed for (P, G, K).
        names: The K rewards' names, for weights by name where there are no specs.
        specs: The K declarations; needed by some normalizers.
        weights: Reward name → weight, where a name left out keeps its spec's default, or 1; or K numbers;
            None for the specs' defaults, or ones without specs. In place of those in the normalizer's text.
        lengths: Token counts (N,); only estimators that are about them read them.
        applicable: (N, K) bool, False where a reward is not defined for a rollout; default all True.
        failed: (N, K) bool, True where a scorer failed; default all False.

    Returns:
        Advantages (N,), or (P, G), finite, of the rewards' dtype (float64 for integers and lists) and device.

    Raises:
        UnknownNameError: A normalizer or a weight's name that does not exist.
        BatchError: Arrays that do not fit together, or rewards that are not finite.
        DomainError: The normalizer is not defined for such a batch.
        NormalizerOutputError: The normalizer returned something other than N finite numbers.
    """
    function, own_weights = (normalizer, None) if callable(normalizer) else read_normalizer(normalizer)
    batch = make_batch(
        rewards,
        groups,
        names=names,
        specs=specs,
        weights=own_weights if weights is None else weights,
        lengths=lengths,
        applicable=applicable,
        failed=failed,
    )
    advantages = function(batch)
    if not isinstance(advantages, Tensor) or advantages.shape != (len(batch),):
        came = f"shape {tuple(advantages.shape)}" if isinstance(advantages, Tensor) else type(advantages).__name__
        raise NormalizerOutputError(f"{_title(function)} must return a tensor of shape ({len(batch)},); got {came}.")
    advantages = advantages.detach().to(batch.given.device, batch.dtype)
    if not all_finite(advantages):
        row = int((~advantages.isfinite()).nonzero()[0])
        raise NormalizerOutputError(
            f"{_title(function)} gave {advantages[row].item()} for rollout {row}, whose rewards are "
            f"{batch.rewards[row].tolist()} (group {batch.groups[row].item()}); advantages must be finite."
        )
    return advantages.reshape(batch.shape)


def _title(function: Callable[..., Any]) -> str:
    return f"The normalizer {getattr(function, '__qualname__', None) or repr(function)}"
