"""A normalizer as jobs, command lines and other trainers' settings name it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, FiniteFloat, model_validator

from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.models import Options, StrictModel, options_suffix


class NormalizerChoice(StrictModel):
    """A normalizer, its options, and the weights it gives the rewards."""

    normalizer: str
    options: Options = Field(default_factory=dict)
    weights: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Reward → weight; rewards left out keep their declared weight."""

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
    def label(self) -> str:
        """A short text that tells configurations of a job apart."""
        return self.normalizer + options_suffix(
            self.options | {f"weights.{k}": f"{v:g}" for k, v in self.weights.items()}
        )
