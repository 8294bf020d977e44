"""The front door: reward vectors in, advantages out, both checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gdpo_bench.advantages.batch import Groups, Normalizer, RewardBatch
from gdpo_bench.advantages.errors import BatchError, NormalizerOutputError
from gdpo_bench.advantages.registry import read_normalizer
from gdpo_bench.core.errors import UnknownNameError
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
    return advantages if len(batch.shape) == 1 else advantages.reshape(batch.shape)


def make_batch(
    rewards: Any,
    groups: Any = None,
    *,
    names: Sequence[str] | None = None,
    specs: Sequence[RewardSpec] | None = None,
    weights: Mapping[str, float] | Sequence[float] | Tensor | None = None,
    lengths: Any = None,
    applicable: Any = None,
    failed: Any = None,
) -> RewardBatch:
    """Check what a caller has and put it into a `RewardBatch`.

    Arrays may be tensors, numpy arrays or nested lists; `compute_advantages` describes them.

    Raises:
        BatchError: Shapes that do not fit, group ids that are neither integers nor texts, NaN or infinite rewards.
        UnknownNameError: A weight for a reward that does not exist.
    """
    values, none = _rewards(rewards)
    shape = values.shape[:-1]
    if values.dim() == 3:
        values, lengths = values.flatten(0, 1), _flat(lengths, shape)
        applicable, failed, none = (_flat(mask, shape) for mask in (applicable, failed, none))
    if values.dim() != 2 or not values.numel():
        raise BatchError(
            "Rewards must have shape (N, K), N rollouts by K rewards, or (P, G, K), P groups of G rollouts, all at "
            f"least 1; got {tuple(values.shape)}." + (" For one reward: rewards[:, None]." if values.dim() == 1 else "")
        )
    n, k = values.shape
    device = values.device
    names, specs = _names(names, specs, (n, k))
    masks = _masks(applicable, failed, none, (n, k), device)
    if masks is not None:
        available = masks[0] & ~masks[1]
        masks = None if bool(available.all()) else masks
        values = values if masks is None else torch.where(available, values, 0.0)
    _check_finite(values, names)
    return RewardBatch(
        given=values,
        grouping=_grouping(groups, shape, device),
        weights=torch.from_numpy(np.array(_weights(weights, names, specs, k), dtype=np.float64)).to(device),
        masks=masks,
        specs=specs,
        lengths=_lengths(lengths, n, device),
        shape=tuple(shape),
    )


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    # One cheap sum tells in ordinary cases: NaN and infinity survive it.
    return math.isfinite(values.sum().item()) or bool(values.isfinite().all())


def _rewards(rewards: Any) -> tuple[Tensor, Tensor | None]:
    """Rewards in floating point, and where they are None, if anywhere."""
    none = None
    if not isinstance(rewards, Tensor) and (array := _array(rewards, "rewards")).dtype == object:
        places = np.asarray(array == None, dtype=bool)  # noqa: E711 (element by element)
        try:
            rewards = np.where(places, 0.0, array).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise BatchError(f"Cannot read rewards as an array of numbers: {error}.") from error
        none = torch.from_numpy(places) if places.any() else None
    values = _tensor(rewards, "rewards")
    return values if values.is_floating_point() else values.to(torch.float64), none


def _array(values: Any, what: str) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BatchError(f"Cannot read {what} as an array of numbers: {error}.") from error


def _tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        # By numpy: its floats are float64 wherever a list has one.
        return torch.as_tensor(np.asarray(values) if isinstance(values, list | tuple) else values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BatchError(f"Cannot read {what} as an array of numbers: {error}.") from error


def _flat(values: Any, shape: torch.Size) -> Any:
    """What stands beside rewards (P, G, K), by rollout; what does not fit is left to be refused."""
    if values is None:
        return None
    found = _tensor(values, "masks and lengths")
    return found.flatten(0, 1) if found.shape[:2] == shape else found


def _grouping(groups: Any, shape: torch.Size, device: torch.device) -> Groups:
    """Groups of rollouts (N,), or of (P, G), which need no ids."""
    if groups is None:
        if len(shape) == 2:
            return Groups(torch.arange(shape.numel(), device=device) // shape[1])
        raise BatchError(
            "Rewards (N, K) need `groups`, an id a rollout that is equal within a group; rewards (P, G, K) do not."
        )
    ids = _ids(groups).to(device)
    if len(shape) == 2 and ids.shape in (shape, shape[:1]):
        ids = ids.flatten() if ids.shape == shape else ids.repeat_interleave(shape[1])
    n = shape.numel()
    if ids.shape != (n,) or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise BatchError(
            f"Groups must be {n} integers or texts, one a rollout, equal within a group; "
            f"got shape {tuple(ids.shape)} of {_kind(ids.dtype)}."
        )
    return Groups(ids)


def _ids(groups: Any) -> Tensor:
    """Group ids as they are, or numbers for texts."""
    if isinstance(groups, Tensor):
        return groups
    array = _array(groups, "groups")
    if array.dtype.kind in "UO" and array.size:
        strange = next((one for one in np.ravel(np.asarray(groups, dtype=object)) if not isinstance(one, str)), "")
        if strange != "":
            raise BatchError(f"Groups must be integers or texts, all of one kind; got {strange!r} among them.")
        groups = np.unique(array.astype(str), return_inverse=True)[1].reshape(array.shape)
    return _tensor(groups, "groups")


def _names(
    names: Sequence[str] | None, specs: Sequence[RewardSpec] | None, shape: tuple[int, int]
) -> tuple[tuple[str, ...] | None, tuple[RewardSpec, ...] | None]:
    """The names of the K rewards, if they have any, and their declarations."""
    if specs is not None:
        specs = tuple(specs)
        declared = tuple(spec.name for spec in specs)
        if names is not None and tuple(names) != declared:
            raise BatchError(f"The specs name {', '.join(declared)}, and names {', '.join(names)}; leave names out.")
        names = declared
    names = None if names is None else tuple(names)
    if names is not None and (len(names) != shape[1] or len(set(names)) < len(names)):
        raise BatchError(
            f"Rewards of shape {shape} have {shape[1]} columns, but {len(names)} "
            f"{'specs were given' if specs else 'different names are needed'}: {', '.join(names)}."
        )
    return names, specs


def _masks(
    applicable: Any, failed: Any, none: Tensor | None, shape: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """What is applicable, None being not, and what failed; None if nothing was said."""
    if applicable is None and failed is None and none is None:
        return None
    there = _mask(applicable, "applicable", shape, torch.ones, device)
    return there if none is None else there & ~none, _mask(failed, "failed", shape, torch.zeros, device)


def _mask(
    values: Any, what: str, shape: tuple[int, int], default: Callable[..., Tensor], device: torch.device
) -> Tensor:
    if values is None:
        return default(shape, dtype=torch.bool, device=device)
    mask = _tensor(values, what)
    if mask.shape != shape or mask.dtype != torch.bool:
        raise BatchError(
            f"The mask {what!r} must be bool of shape {shape}, like the rewards; "
            f"got {_kind(mask.dtype)} of shape {tuple(mask.shape)}."
        )
    return mask.to(device)


def _check_finite(values: Tensor, names: tuple[str, ...] | None) -> None:
    if all_finite(values):
        return
    row, column = (~values.isfinite()).nonzero()[0].tolist()
    name = f"{names[column]!r} (column {column})" if names else f"in column {column}"
    raise BatchError(
        f"Rewards must be finite; rollout {row} has {values[row, column].item()} for the reward {name}. "
        "Mark a reward that a rollout does not have in `applicable`, one whose scorer broke in `failed`."
    )


def _lengths(values: Any, n: int, device: torch.device) -> Tensor | None:
    if values is None:
        return None
    lengths = _tensor(values, "lengths").to(device, torch.float64)
    if lengths.shape != (n,) or not all_finite(lengths) or lengths.min().item() < 0:
        raise BatchError(
            f"Lengths must be {n} token counts, one a rollout, none negative; got shape {tuple(lengths.shape)}"
            + (f" with smallest {lengths.min().item()}." if lengths.shape == (n,) else ".")
        )
    return lengths


def _weights(
    weights: Mapping[str, float] | Sequence[float] | Tensor | None,
    names: tuple[str, ...] | None,
    specs: tuple[RewardSpec, ...] | None,
    k: int,
) -> list[float]:
    """The K weights."""
    default = [spec.weight for spec in specs] if specs else [1.0] * k
    if weights is None:
        return default
    if isinstance(weights, Mapping):
        if names is None:
            raise BatchError("Weights by name need to know the rewards' names; pass `names` or `specs`, or a sequence.")
        for name in weights:
            if name not in names:
                raise UnknownNameError("reward in weights", name, names)
        found = list((dict(zip(names, default, strict=True)) | dict(weights)).values())
    else:
        found = _tensor(weights, "weights").tolist()
    if not isinstance(found, list) or len(found) != k or not all(map(_is_finite, found)):
        raise BatchError(f"Weights must be {k} finite numbers, one a reward; got {found!r}.")
    return found


def _is_finite(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _title(function: Callable[..., Any]) -> str:
    return f"The normalizer {getattr(function, '__qualname__', None) or repr(function)}"
