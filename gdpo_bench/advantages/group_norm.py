"""Centring and scaling within groups, with the rules that keep zeros exact.

Floating point leaves noise where arithmetic on paper leaves 0, and dividing by a small standard
deviation makes the noise as large as a signal. Hence three rules, which `zero_variance="zero"`
(the default everywhere) applies:

1. Values that are equal throughout a group up to rounding are equal: they are centred to exactly 0.
2. Terms that cancel throughout a group, but for rounding and ε, cancel: their sums are exactly 0.
3. A batch whose spread is rounding noise is whitened to 0, and a batch mean that is rounding noise
   is not subtracted, so that rollouts without signal stay at exactly 0 (see `whitening`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import DomainError, OptionError
from gdpo_bench.advantages.groups import Groups

AbsentPolicy = Literal["skip", "add_nothing", "zero", "error"]
"""What becomes of a reward that a rollout does not have.

`skip`: left out of the statistics, and of no influence on the rollout; in a sum it stands at its
group's mean. `add_nothing`: like `skip`, but a sum just goes without it. `zero`: taken as 0.0.
`error`: the batch is refused.
"""

EPS64 = torch.finfo(torch.float64).eps
_CANCELLED = 1e-4
"""Sums this small, beside the sizes of their terms, are what rounding and ε leave of 0: the default ε
takes less than that from a standardized reward whose deviation is above 0.01."""


def rounding(dtype: torch.dtype, terms: Tensor | int) -> Tensor | float:
    """Relative spread that rounding can give to equal values.

    Args:
        dtype: The precision in which the values came.
        terms: How many of them a float64 mean adds up.

    Returns:
        Two roundings of the input, and the error of the mean.
    """
    return 2 * torch.finfo(dtype).eps + 4 * EPS64 * terms


@cache
def _choices(options: Any) -> dict[str, tuple[str, ...]]:
    """The options of a class that are one of several words."""
    found = {name: get_args(kind) for name, kind in get_type_hints(options).items()}
    return {name: words for name, words in found.items() if words and isinstance(words[0], str)}


@dataclass(frozen=True)
class GroupNorm:
    """Options that all estimators share which centre, and mostly scale, within groups."""

    eps: float = 1e-6
    """Added to standard deviations (TRL 1e-4, verl 1e-6)."""
    ddof: int = 1
    """1 for the sample standard deviation, which all frameworks use; 0 for the population's."""
    baseline: Literal["mean", "leave_one_out"] = "mean"
    """Subtract the group's mean, or the mean of the group's *other* rollouts (then the standard
    deviation, where one is used, is also theirs)."""
    zero_variance: Literal["zero", "eps", "undivided"] = "zero"
    """Groups whose rewards are equal: exactly 0 by the rules above; or whatever the formula with its
    ε makes of rounding noise; or centred but not divided where the deviation is exactly 0 (NeMo-RL)."""
    singleton: Literal["zero", "raw", "error"] = "zero"
    """A group of one: 0; its raw value, neither centred nor scaled (verl); or refuse the batch."""
    missing: AbsentPolicy = "skip"
    """A reward that is not applicable to a rollout."""
    failed: AbsentPolicy = "skip"
    """A reward whose scorer failed."""
    statistics: Literal["float64", "float32"] = "float64"
    """Precision of all arithmetic."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("eps") and value is not None and not (value >= 0 and math.isfinite(value)):
                raise OptionError(f"Option {name} must be a finite number, at least 0; got {value!r}.")
        options: Any = type(self)
        for name, choices in _choices(options).items():
            if getattr(self, name) not in choices:
                listing = ", ".join(map(repr, choices))
                raise OptionError(f"Option {name} must be one of {listing}; got {getattr(self, name)!r}.")
        if self.ddof not in (0, 1):
            raise OptionError(f"Option ddof must be 0 or 1; got {self.ddof!r}.")

    @property
    def exact_zeros(self) -> bool:
        """Whether the rules of this module apply."""
        return self.zero_variance == "zero"

    @property
    def precision(self) -> torch.dtype:
        """The dtype of all arithmetic."""
        return torch.float64 if self.statistics == "float64" else torch.float32

    def rewards(self, batch: RewardBatch) -> Tensor:
        """The rewards (N, K) in the precision of the arithmetic."""
        return batch.given.to(self.precision)

    def present(self, batch: RewardBatch) -> Tensor | None:
        """Which rewards enter the statistics: a mask (N, K), or None if all do.

        Raises:
            DomainError: A reward is absent and the policy is `error`.
        """
        if batch.complete:
            return None
        present = torch.ones_like(batch.applicable)
        broken = batch.applicable & batch.failed
        for policy, absent in ((self.missing, ~batch.applicable), (self.failed, broken)):
            if policy == "error" and bool(absent.any()):
                row, column = absent.nonzero()[0].tolist()
                raise DomainError(
                    f"This {type(self).__name__} refuses batches in which a reward is absent, and rollout {row} "
                    f"lacks reward {column}; set missing= and failed= to 'skip' or 'zero'."
                )
            if policy != "zero":
                present &= ~absent
        return None if bool(present.all()) else present

    def total(self, batch: RewardBatch, rewards: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Σ_k w_k r_k for estimators that add rewards up first.

        Args:
            batch: The batch.
            rewards: Its rewards (N, K), possibly rescaled.

        Returns:
            The sum (N,), the size of its terms (N,), and which rollouts have any reward (N,),
            or None if all have all.
        """
        weights, present, rows = batch.weights.to(rewards.dtype), self.present(batch), None
        if present is not None:
            rows = present.any(1)
            neutral = (~batch.applicable & (self.missing == "skip")) | (batch.failed & (self.failed == "skip"))
            counts = batch.grouping.sum(present.to(rewards.dtype)).clamp(min=1)
            means = batch.grouping.sum(torch.where(present, rewards, 0.0)) / counts
            # At its group's mean a reward is neutral once the group is centred.
            rewards = torch.where(neutral & ~present, batch.grouping.spread(means), rewards)
        return rewards @ weights, rewards.abs() @ weights.abs(), rows

    def weighted_sum(self, advantages: Tensor, groups: Groups, weights: Tensor) -> Tensor:
        """Σ_k w_k A_k (N,) of standardized A_k (N, K), exactly 0 throughout a group whose terms cancel."""
        weights = weights.to(advantages.dtype)
        total = advantages @ weights
        if not self.exact_zeros:
            return total
        left = groups.sum(total.abs())
        # Ordinary batches have nothing small but exact zeros, and need no second look at all terms.
        if not bool(((left > 0) & (left <= _CANCELLED * groups.sizes * weights.abs().sum())).any()):
            return total
        cancelled = left <= _CANCELLED * groups.sum(advantages.abs() @ weights.abs())
        return total.masked_fill(groups.spread(cancelled), 0.0)

    def standardize(
        self,
        values: Tensor,
        groups: Groups,
        dtype: torch.dtype,
        *,
        present: Tensor | None = None,
        size: Tensor | None = None,
        scale: bool = True,
        eps: float | None = None,
        overwrite: bool = False,
    ) -> Tensor:
        """(x − baseline) / (std + ε) within groups, for each column by itself.

        Args:
            values: (N, …).
            groups: The N rollouts' groups.
            dtype: Precision in which the rewards came.
            present: Mask like `values`: which enter the statistics; the others become 0.
            size: Like `values`: the size of the terms that each value is a sum of, if it is one.
            scale: Whether to divide, or only to centre.
            eps: In place of `self.eps`.
            overwrite: Whether `values` is free to be written over, which saves memory.

        Returns:
            Like `values`; exactly 0 throughout a group of equal values.
        """
        eps = self.eps if eps is None else eps
        if present is None:
            counts = groups.sizes.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
        else:
            values = torch.where(present, values, 0.0)
            counts = groups.sum(present.to(values.dtype)).clamp(min=1)
        if self.singleton == "error" and bool((groups.sizes == 1).any()):
            raise DomainError(
                f"This {type(self).__name__} is not defined for a group of one; "
                "set singleton='zero', or draw more rollouts."
            )
        means = groups.sum(values) / counts
        needed = self.baseline == "leave_one_out" or self.singleton == "raw"
        centred = groups.combine(torch.Tensor.sub_ if overwrite and not needed else torch.sub, values, means)
        if present is not None:
            centred.masked_fill_(~present, 0.0)
        stds = (groups.sum_squares(centred) / (counts - self.ddof).clamp(min=1)).sqrt()
        divisors = self._guard(stds, eps) if scale else torch.ones_like(stds)
        if self.exact_zeros:
            sizes = means.abs() if size is None else groups.sum(size) / counts
            divisors.masked_fill_(stds <= rounding(dtype, counts) * sizes, math.inf)
        if self.baseline == "leave_one_out":
            centred = groups.combine(torch.Tensor.mul_, centred, counts / (counts - 1).clamp(min=1))
            if scale:
                own = self._guard(self._leave_one_out_std(values, groups, counts), eps)
                centred.div_(own)
                divisors = torch.where(divisors.isinf(), math.inf, 1.0)
        standardized = groups.combine(torch.Tensor.div_, centred, divisors)
        if self.singleton == "raw":
            alone = groups.spread((counts == 1).expand(len(groups), *values.shape[1:]))
            standardized = torch.where(alone, values / (1 + eps if scale else 1.0), standardized)
        return standardized

    def _guard(self, stds: Tensor, eps: float) -> Tensor:
        """What to divide by."""
        if self.zero_variance == "undivided":
            return torch.where(stds > 0, stds + eps, 1.0)
        return stds + eps

    def _leave_one_out_std(self, values: Tensor, groups: Groups, counts: Tensor) -> Tensor:
        """Standard deviation of each rollout's fellows, (N, …), from their first two moments.

        The order of operations is NeMo-RL's: in float32 the difference of moments is noise where
        the fellows are equal, which is how one odd rollout of eight reaches an advantage of −2154.
        """
        others = groups.spread((counts - 1).clamp(min=1).expand(len(groups), *values.shape[1:]))
        mean = groups.combine(torch.rsub, values, groups.sum(values)) / others
        mean_square = groups.combine(torch.rsub, values.square(), groups.sum(values.square())) / others
        return ((mean_square - mean.square()) * (others / (others - self.ddof))).sqrt().nan_to_num(0.0, posinf=0.0)
