"""What a user may set beside a normalizer, and whose weights hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from gdpo_bench.advantages import Normalizer, OptionError, RewardBatch
from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.core.models import problems
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.trl.rewards import RewardComponent

AnyNormalizer = str | Normalizer | Callable[[RewardBatch], Tensor]

_DEFAULTS = {"scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize"}


def read_normalizer(normalizer: AnyNormalizer) -> tuple[Any, dict[str, float]]:
    """The normalizer, and the weights by name that came with its text.

    Raises:
        OptionError: A text that cannot be read.
        UnknownNameError: No such normalizer or option.
    """
    if not isinstance(normalizer, str):
        if not callable(normalizer):
            raise OptionError(f"A normalizer is a name, or a function of a RewardBatch; got {normalizer!r}.")
        return normalizer, {}
    try:
        choice = NormalizerChoice.model_validate(normalizer)
    except ValidationError as error:
        raise OptionError(f"normalizer={normalizer!r}: {problems(error)}") from error
    return choice.make(), choice.starting_weights


def check_settings(trainer: Any) -> None:
    """Refuse settings of a `GRPOTrainer` that a normalizer stands in the place of.

    Raises:
        IntegrationError: There is one, or a tokenizer that takes replies apart.
    """
    for name, default in _DEFAULTS.items():
        value = getattr(trainer.args, name)
        if value != default:
            raise IntegrationError(
                f"{name}={value!r} is about TRL's own advantages, and normalizer= replaces these. Leave it out; TRL's "
                'formulas are normalizers too: "gdpo:preset=trl", "grpo:preset=trl", "grpo_no_std:preset=trl", '
                '"grpo_batch_std:preset=trl".'
            )
    ours = any(isinstance(function, RewardComponent) for function in trainer.reward_funcs)
    tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
    for name in ("response_template", "response_schema"):
        if ours and getattr(tokenizer, name, None) is not None:
            raise IntegrationError(
                f"With the tokenizer's {name} TRL takes replies apart; rewards judge the whole text: set it to None."
            )


def weights_of(
    names: Sequence[str], functions: Sequence[Any], named: Mapping[str, float], configured: Sequence[float] | None
) -> list[float]:
    """The K weights, in the order of the reward functions.

    Args:
        names: The functions' names.
        functions: The reward functions.
        named: Weights by name, from the normalizer's text.
        configured: `reward_weights` of the trainer's settings.

    Raises:
        IntegrationError: Weights came both ways, or two functions share a name that is given a weight.
        UnknownNameError: A weight for a reward that does not exist.
    """
    declared = [function.spec.weight if isinstance(function, RewardComponent) else 1.0 for function in functions]
    if not named:
        # Rewards that TRL's own environments add at the end are not among the configured ones.
        return [*map(float, configured or ()), *declared[len(configured or ()) :]]
    if configured is not None and list(configured) != declared:
        raise IntegrationError(
            f"Weights came twice: {dict(named)} with the normalizer, reward_weights={list(configured)} in the "
            "settings. Give them once."
        )
    for name in named:
        if name not in names:
            raise UnknownNameError("reward in the normalizer's weights", name, names)
        if list(names).count(name) > 1:
            raise IntegrationError(
                f"Two reward functions are named {name!r}; give weights by position, reward_weights."
            )
    return [named.get(name, weight) for name, weight in zip(names, declared, strict=True)]
