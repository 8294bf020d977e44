"""A normalizer as jobs, command lines and other trainers' settings name it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from gdpo_bench.advantages.batch import Normalizer
from gdpo_bench.advantages.registry import make_normalizer
from gdpo_bench.advantages.scheduled import scheduled
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.models import Options, StrictModel, options_suffix
from gdpo_bench.core.schedules import ScheduledWeight, starting_weights


class NormalizerChoice(StrictModel):
    """A normalizer, its options, and the weights it gives the rewards."""

    normalizer: str
    options: Options = Field(default_factory=dict)
    weights: dict[str, ScheduledWeight] = Field(default_factory=dict)
    """Reward → weight, or a schedule such as `linear(1, 0, 100)`; rewards left out keep their declared weight."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, options = parse_choice(value)
        weights = {
            key.removeprefix("weights."): options.pop(key) for key in list(options) if key.startswith("weights.")
        }
        return {"normalizer": name, "options": options, "weights": weights}

    @property
    def starting_weights(self) -> dict[str, float]:
        """Reward → weight of the first step."""
        return starting_weights(self.weights)

    def make(self) -> Normalizer:
        """The normalizer, which follows the schedules of weights.

        Raises:
            GdpoBenchError: As of `make_normalizer`.
        """
        return scheduled(make_normalizer(self.normalizer, **self.options), self.weights)

    @property
    def label(self) -> str:
        """A short text that tells configurations of a job apart."""
        weights = {name: f"{one:g}" if isinstance(one, int | float) else str(one) for name, one in self.weights.items()}
        return self.normalizer + options_suffix(
            self.options | {f"weights.{name}": weight for name, weight in weights.items()}
        )
