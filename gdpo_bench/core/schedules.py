"""Weights that change while a policy is trained: what jobs declare and entries record.

    weights: {format: "linear(1, 0, 100)"}                             # from 1 to 0 within 100 steps
    weights: {format: "step(0: 1, 200: 0.25)"}                         # 1, and 0.25 from step 200 on
    weights: {length: "threshold(correct, 0.8, 0, 1)"}                 # 0, and 1 once correct has reached 0.8

On command lines spaces take the place of commas: `gdpo:weights.format=linear(1 0 100)`. A step is a batch that is
learned from, counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, NonNegativeInt, PositiveInt, Tag, field_validator

from gdpo_bench.core.models import StrictModel

Weight = Annotated[float, Field(allow_inf_nan=False, ge=-1e100, le=1e100)]


class Linear(StrictModel):
    """From one weight to another within a number of steps, then constant."""

    schedule: Literal["linear"] = "linear"
    start: Weight
    end: Weight
    steps: PositiveInt

    @property
    def values(self) -> tuple[float, ...]:
        """Weights between which all others lie, the first one first."""
        return self.start, self.end

    def at(self, step: int, *, reached: bool) -> float:
        """The weight of a step."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)

    def __str__(self) -> str:
        """As a command line gives it."""
        return f"linear({self.start:g} {self.end:g} {self.steps})"


class Step(StrictModel):
    """A weight that changes at given steps."""

    schedule: Literal["step"] = "step"
    weights: dict[NonNegativeInt, Weight]
    """Step → weight from there on; 0 must be among them."""

    @field_validator("weights", mode="after")
    @classmethod
    def _begins(cls, weights: dict[int, float]) -> dict[int, float]:
        if 0 not in weights:
            raise ValueError("a weight for step 0 is missing")
        return dict(sorted(weights.items()))

    @property
    def values(self) -> tuple[float, ...]:
        """Weights between which all others lie, the first one first."""
        return tuple(self.weights.values())

    def at(self, step: int, *, reached: bool) -> float:
        """The weight of a step."""
        return [weight for start, weight in self.weights.items() if start <= step][-1]

    def __str__(self) -> str:
        """As a command line gives it."""
        return f"step({' '.join(f'{step}:{weight:g}' for step, weight in self.weights.items())})"


class Threshold(StrictModel):
    """A weight that changes for good, from the batch after the first one whose mean of a reward reaches a value."""

    schedule: Literal["threshold"] = "threshold"
    reward: str
    value: Weight
    before: Weight
    after: Weight

    @property
    def values(self) -> tuple[float, ...]:
        """Weights between which all others lie, the first one first."""
        return self.before, self.after

    def at(self, step: int, *, reached: bool) -> float:
        """The weight of a step, by whether an earlier batch has reached the value."""
        return self.after if reached else self.before

    def __str__(self) -> str:
        """As a command line gives it."""
        return f"threshold({self.reward} {self.value:g} {self.before:g} {self.after:g})"


_FIELDS = {"linear": ("start", "end", "steps"), "threshold": ("reward", "value", "before", "after")}


def _from_text(value: Any) -> Any:
    """`linear(1, 0, 100)` as a mapping; numbers, and what is no text, as they are."""
    if not isinstance(value, str) or re.fullmatch(r"\s*[-+.\deE]+\s*", value):
        return value
    found = re.fullmatch(r"\s*(linear|step|threshold)\s*\((.*)\)\s*", value)
    if found is None:
        raise ValueError(f"expected a valid number, linear(…), step(…) or threshold(…); got {value!r}")
    kind, words = found[1], re.split(r"[,\s]+", re.sub(r"\s*:\s*", ":", found[2].strip()))
    if kind == "step":
        pairs = [word.partition(":") for word in words]
        if any(not colon for _, colon, _ in pairs):
            raise ValueError(f"expected step(0: 1, 200: 0.25), a weight from each step on; got {value!r}")
        return {"schedule": "step", "weights": {step: weight for step, _, weight in pairs}}
    if len(words) != len(_FIELDS[kind]):
        raise ValueError(f"expected {kind}({', '.join(_FIELDS[kind])}); got {value!r}")
    return {"schedule": kind, **dict(zip(_FIELDS[kind], words, strict=True))}


Schedule = Annotated[Linear | Step | Threshold, Field(discriminator="schedule")]


def _kind(weight: Any) -> str:
    return "schedule" if isinstance(weight, dict | StrictModel) else "number"


NUMBER, SCHEDULE, KIND = Tag("number"), Tag("schedule"), Discriminator(_kind)
"""What tells a number from a schedule, so that what is wrong with one is said of that one."""
ScheduledWeight = Annotated[
    Annotated[Weight, NUMBER] | Annotated[Schedule, SCHEDULE], KIND, BeforeValidator(_from_text)
]
"""A weight of a reward: a number, or a schedule."""


def starting_weights(weights: Mapping[str, float | Schedule]) -> dict[str, float]:
    """Reward → weight of the first step."""
    return {name: one if isinstance(one, int | float) else one.at(0, reached=False) for name, one in weights.items()}


def schedules_of(weights: Mapping[str, float | Schedule]) -> dict[str, Schedule]:
    """Reward → schedule, of rewards that have one."""
    return {name: weight for name, weight in weights.items() if not isinstance(weight, int | float)}


def ever_counts(weight: float | Schedule) -> bool:
    """Whether a weight is other than 0 at some step."""
    return bool(weight) if isinstance(weight, int | float) else any(weight.values)
