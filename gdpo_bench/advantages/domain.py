"""Which rewards an estimator takes: the parts they play, declared ranges, weights, and options of one value each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import BatchError, DomainError, OptionError
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.core.rewards import RewardSpec

Role = str | int | None
"""A reward by its declared name or its number from 0; None is the first."""
PerReward = float | tuple[float, ...] | dict[str, float] | None
"""One number for all rewards that an option is about, one each in their order, or one each by name."""


def column(role: Role, option: str, specs: Sequence[RewardSpec] | None, k: int) -> int:
    """The number of the reward that plays a part.

    Args:
        role: What the option says.
        option: Its name, for messages.
        specs: The K declarations, which hold the names.
        k: How many rewards there are.

    Raises:
        DomainError: There is no such number, or names are not declared.
        UnknownNameError: There is no such name.
    """
    if role is None:
        return 0
    if isinstance(role, int):
        if not 0 <= role < k:
            raise DomainError(f"Option {option} is {role}, and rewards are numbered from 0 to {k - 1}.")
        return role
    if specs is None:
        raise DomainError(f"Option {option}={role!r} names a reward, which needs `specs`; pass specs, or its number.")
    names = [spec.name for spec in specs]
    if role not in names:
        raise UnknownNameError(f"reward in option {option}", role, names)
    return names.index(role)


def per_reward(
    value: PerReward, option: str, specs: Sequence[RewardSpec] | None, k: int, *, without: int | None = None
) -> list[float]:
    """One number for each reward, or for each but one.

    Args:
        value: What the option says.
        option: Its name, for messages.
        specs: The K declarations, which hold the names.
        k: How many rewards there are.
        without: The reward that the option is not about.

    Raises:
        OptionError: The option was left out, or has another number of values.
        DomainError: Values are by name, and names are not declared.
        UnknownNameError: A name of no reward that the option is about.
    """
    about = [i for i in range(k) if i != without]
    if value is None:
        raise OptionError(f"Option {option} has no default: give one number for all rewards, or one each.")
    if isinstance(value, int | float):
        return [float(value)] * len(about)
    if isinstance(value, dict):
        if specs is None:
            raise DomainError(f"Option {option} is by name, which needs `specs`; pass specs, or a list.")
        names = [specs[i].name for i in about]
        for name in value:
            if name not in names:
                raise UnknownNameError(f"reward in option {option}", name, names)
        if missing := [name for name in names if name not in value]:
            raise OptionError(f"Option {option} has no value for {', '.join(missing)}.")
        return [float(value[name]) for name in names]
    if len(value) != len(about):
        raise OptionError(f"Option {option} needs {len(about)} values, one a reward; got {len(value)}.")
    return list(map(float, value))


def refuse_negative_weights(weights: Iterable[float], normalizer: str) -> None:
    """Refuse weights that are negative, or all 0.

    Raises:
        DomainError: They are.
    """
    found = list(weights)
    if min(found) < 0 or max(found) == 0:
        raise DomainError(f"{normalizer} needs weights that are not negative, and one above 0; got {found}.")


def declared_lows(batch: RewardBatch, normalizer: str) -> Tensor:
    """The lower end of each reward's declared range, (K,) float64.

    Raises:
        DomainError: The batch has no specs.
    """
    return torch.tensor(
        [spec.low for spec in _specs(batch, normalizer)], dtype=torch.float64, device=batch.given.device
    )


def declared_widths(batch: RewardBatch, normalizer: str) -> Tensor:
    """High − low of each reward's declared range, (K,) float64.

    Raises:
        DomainError: The batch has no specs.
    """
    widths = [spec.high - spec.low for spec in _specs(batch, normalizer)]
    return torch.tensor(widths, dtype=torch.float64, device=batch.given.device)


def refuse_other_rewards(normalizer: str, remembered: int, k: int) -> None:
    """Refuse a batch of another number of rewards than a state is about.

    Raises:
        BatchError: It is.
    """
    if remembered != k:
        raise BatchError(
            f"This {normalizer} remembers {remembered} rewards, and the batch has {k}; make a new one for it."
        )


def _specs(batch: RewardBatch, normalizer: str) -> tuple[RewardSpec, ...]:
    if batch.specs is None:
        raise DomainError(f"{normalizer} needs `specs`, which declare the ranges of the rewards; pass specs.")
    return batch.specs
