"""What a normalizer is, and what it sees: the reward vectors of a batch and all that belongs to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from gdpo_bench.advantages.errors import BatchError
from gdpo_bench.advantages.groups import Groups
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.core.rewards import RewardSpec


@dataclass(frozen=True, eq=False)
class RewardBatch:
    """N rollouts with K rewards each; all tensors are on one device."""

    given: Tensor
    """(N, K) as they came, in floating point, always finite; 0.0 where a reward is not applicable or
    its scorer failed. Normalizers read `rewards`."""
    grouping: Groups
    """Sums over groups, for estimators."""
    weights: Tensor
    """(K,) float64. What a weight acts on is the normalizer's own affair."""
    applicable: Tensor
    """(N, K) bool: whether the reward is defined for the rollout's task."""
    failed: Tensor
    """(N, K) bool: whether the reward's scorer failed."""
    complete: bool
    """Whether every rollout has every reward."""
    specs: tuple[RewardSpec, ...] | None = None
    """The K declarations, where the caller has them."""
    lengths: Tensor | None = None
    """Token counts (N,) float64, where the caller has them."""

    def __len__(self) -> int:
        """N, the number of rollouts."""
        return len(self.given)

    @cached_property
    def rewards(self) -> Tensor:
        """(N, K) float64, finite; 0.0 where a reward is not applicable or its scorer failed."""
        return self.given.to(torch.float64)

    @property
    def groups(self) -> Tensor:
        """Group ids (N,): integers in any order, equal within a group."""
        return self.grouping.ids

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the rewards came in, hence the precision that they have."""
        return self.given.dtype


class Normalizer(Protocol):
    """Turns the reward vectors of a batch into one advantage for each rollout."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,), finite, on the batch's device."""
        ...


def make_batch(
    rewards: Any,
    groups: Any,
    *,
    specs: Sequence[RewardSpec] | None = None,
    weights: Mapping[str, float] | Sequence[float] | Tensor | None = None,
    lengths: Any = None,
    applicable: Any = None,
    failed: Any = None,
) -> RewardBatch:
    """Check what a caller has and put it into a `RewardBatch`.

    Arrays may be tensors, numpy arrays or nested lists; `compute_advantages` describes them.

    Raises:
        BatchError: Shapes that do not fit, group ids that are not integers, NaN or infinite rewards.
        UnknownNameError: A weight for a reward that does not exist.
    """
    values = _tensor(rewards, "rewards")
    if values.dim() != 2 or not values.numel():
        raise BatchError(
            f"Rewards must have shape (N, K), N rollouts by K rewards, both at least 1; got {tuple(values.shape)}."
            + (" For one reward: rewards[:, None]." if values.dim() == 1 else "")
        )
    if not values.is_floating_point():
        values = values.to(torch.float64)
    n, k = values.shape
    device = values.device
    specs = tuple(specs) if specs is not None else None
    if specs is not None and len(specs) != k:
        names = ", ".join(spec.name for spec in specs)
        raise BatchError(f"Rewards of shape {(n, k)} have {k} columns, but {len(specs)} specs were given: {names}.")
    applicable_mask = _mask(applicable, "applicable", (n, k), True, device)
    failed_mask = _mask(failed, "failed", (n, k), False, device)
    complete = True
    if applicable is not None or failed is not None:
        available = applicable_mask & ~failed_mask
        complete = bool(available.all())
        values = torch.where(available, values, 0.0)
    _check_finite(values, specs)
    ids = _tensor(groups, "groups").to(device)
    if ids.shape != (n,) or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise BatchError(
            f"Groups must be {n} integers, one a rollout, equal within a group; "
            f"got shape {tuple(ids.shape)} of {str(ids.dtype).removeprefix('torch.')}."
        )
    return RewardBatch(
        given=values,
        grouping=Groups(ids),
        weights=_weights(weights, specs, k).to(device),
        applicable=applicable_mask,
        failed=failed_mask,
        complete=complete,
        specs=specs,
        lengths=_lengths(lengths, n, device),
    )


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    # One cheap sum tells in ordinary cases: NaN and infinity survive it.
    return math.isfinite(values.sum().item()) or bool(values.isfinite().all())


def _tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        # Python floats are float64; numpy arrays keep their dtype.
        return torch.as_tensor(values, dtype=torch.float64 if _holds_floats(values) else None)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BatchError(f"Cannot read {what} as an array of numbers: {error}.") from error


def _holds_floats(values: Any) -> bool:
    while isinstance(values, list | tuple) and values:
        if any(isinstance(value, float) for value in values):
            return True
        values = values[0]
    return isinstance(values, float)


def _mask(values: Any, what: str, shape: tuple[int, int], default: bool, device: torch.device) -> Tensor:
    if values is None:
        return torch.tensor(default, device=device).expand(shape)
    mask = _tensor(values, what)
    if mask.shape != shape or mask.dtype != torch.bool:
        raise BatchError(
            f"The mask {what!r} must be bool of shape {shape}, like the rewards; "
            f"got {str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)}."
        )
    return mask.to(device)


def _check_finite(values: Tensor, specs: tuple[RewardSpec, ...] | None) -> None:
    if all_finite(values):
        return
    row, column = (~values.isfinite()).nonzero()[0].tolist()
    name = f"{specs[column].name!r} (column {column})" if specs else f"in column {column}"
    raise BatchError(
        f"Rewards must be finite; rollout {row} has {values[row, column].item()} for the reward {name}. "
        "Mark a reward that a rollout does not have in `applicable`, one whose scorer broke in `failed`."
    )


def _lengths(values: Any, n: int, device: torch.device) -> Tensor | None:
    if values is None:
        return None
    lengths = _tensor(values, "lengths").to(device, torch.float64)
    if lengths.shape != (n,) or not bool((lengths.isfinite() & (lengths >= 0)).all()):
        raise BatchError(
            f"Lengths must be {n} token counts, one a rollout, none negative; got shape {tuple(lengths.shape)}"
            + (f" with smallest {lengths.min().item()}." if lengths.shape == (n,) else ".")
        )
    return lengths


def _weights(
    weights: Mapping[str, float] | Sequence[float] | Tensor | None, specs: tuple[RewardSpec, ...] | None, k: int
) -> Tensor:
    if isinstance(weights, Mapping):
        if specs is None:
            raise BatchError("Weights by name need `specs`, which name the rewards; pass specs, or a sequence.")
        known = {spec.name: spec.weight for spec in specs}
        for name in weights:
            if name not in known:
                raise UnknownNameError("reward in weights", name, known)
        found: Any = list((known | dict(weights)).values())
    elif weights is not None:
        found = weights
    else:
        found = [spec.weight for spec in specs] if specs else [1.0] * k
    tensor = _tensor(found, "weights").to(torch.float64)
    if tensor.shape != (k,) or not bool(tensor.isfinite().all()):
        raise BatchError(f"Weights must be {k} finite numbers, one a reward; got {found!r}.")
    return tensor
