"""What options of estimators have in common: their choices, and how they are checked.

Every estimator lists its own, and only such as change its numbers.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

import torch

from gdpo_bench.advantages.errors import OptionError

Baseline = Literal["mean", "leave_one_out"]
"""What to subtract: the group's mean, or the mean of the group's *other* rollouts, the fellows; the
standard deviation, where one is used, is then also the fellows'."""
ZeroVariance = Literal["zero", "eps", "undivided", "undivided_at_zero"]
"""What becomes of equal rewards.

`zero`: exactly 0, by the rules of `arithmetic`; a deviation is not divided by where all fellows
are equal. `eps`: whatever the formula with its ε makes of rounding noise. `undivided`: centred, but
not divided where all rewards that the deviation is of are equal (NeMo-RL). `undivided_at_zero`:
the same only where the computed deviation is exactly 0, so that noise divides (NeMo-RL 0.4 to 0.7).
"""
Singleton = Literal["zero", "raw", "error"]
"""A group of one: 0; its raw value, neither centred nor scaled (verl); or refuse the batch."""
Absent = Literal["skip", "add_nothing", "zero", "error"]
"""What becomes of a reward that a rollout does not have.

`skip`: left out of the statistics, and of no influence on the rollout; in a sum it stands at its
group's mean. `add_nothing`: like `skip`, but a sum just goes without it. `zero`: taken as 0.0.
`error`: the batch is refused.
"""
Statistics = Literal["float64", "float32"]
"""Precision of all arithmetic."""
PRECISION = {"float64": torch.float64, "float32": torch.float32}
Scope = Literal["sequence", "token", "group"]
"""What whitening counts once: a rollout, a token, or a rollout within its own group."""


def check_options(options: Any) -> None:
    """Check a dataclass of options: each text is one of its choices, every ε and ddof can be one.

    Raises:
        OptionError: An option has a value that it cannot take.
    """
    for name, value in vars(options).items():
        if name.endswith("eps") and value is not None and not (value >= 0 and math.isfinite(value)):
            raise OptionError(f"Option {name} must be a finite number, at least 0; got {value!r}.")
        if name == "ddof" and value not in (0, 1):
            raise OptionError(f"Option ddof must be 0 or 1; got {value!r}.")
    cls: Any = type(options)
    for name, choices in _choices(cls).items():
        if getattr(options, name) not in choices:
            listing = ", ".join(map(repr, choices))
            raise OptionError(f"Option {name} must be one of {listing}; got {getattr(options, name)!r}.")


@cache
def _choices(cls: Any) -> dict[str, tuple[str, ...]]:
    """The options of a class that are one of several words."""
    found = {name: get_args(kind) for name, kind in get_type_hints(cls).items()}
    return {name: words for name, words in found.items() if words and isinstance(words[0], str)}
