"""Several environments in one training: every reward is a column of its own, named after its environment."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gdpo_bench.core.registry import make_env
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import read_options

Source = tuple[str, str]
"""An environment's id, and its options as canonical JSON."""


def refuse_repeated(sources: Sequence[str]) -> None:
    """Refuse what is no mixture.

    Args:
        sources: What tells its environments apart.

    Raises:
        IntegrationError: There is none, or one comes twice.
    """
    if not sources or len(set(sources)) != len(sources):
        raise IntegrationError(f"A mixture is of different environments; got {', '.join(sources) or 'none'}.")


def prefixes(env_ids: Sequence[str]) -> list[str]:
    """What stands before the rewards' names of each environment: `MathMini_v1`; with a number where an id stands twice.

    Args:
        env_ids: Ids, in the order of the mixture.
    """
    names = [re.sub(r"\W|^(?=\d)", "_", env_id.rpartition("/")[2]) for env_id in env_ids]
    return [name if names.count(name) == 1 else f"{name}_{names[: i + 1].count(name)}" for i, name in enumerate(names)]


def prefixed(spec: RewardSpec, prefix: str) -> RewardSpec:
    """A declaration under the name that it has in a mixture."""
    gate = spec.gate and replace(spec.gate, on=f"{prefix}_{spec.gate.on}")
    return replace(spec, name=f"{prefix}_{spec.name}", gate=gate)


@functools.lru_cache(maxsize=64)
def declared(source: Source) -> tuple[RewardSpec, ...]:
    """The declarations of an environment's rewards.

    Raises:
        UnknownNameError: No such environment or option.
    """
    return make_env(source[0], **read_options(source[1])).reward_specs


def write_mixture(sources: Sequence[Source]) -> str:
    """The environments of a mixture as the text that its data carry."""
    return json.dumps(sources)


@functools.lru_cache(maxsize=8)
def read_mixture(text: str) -> Mapping[Source, tuple[RewardSpec, ...]]:
    """The environments of a mixture, and their declarations under the names that they have in it.

    Args:
        text: What `write_mixture` gave.

    Raises:
        IntegrationError: The text is something else.
        UnknownNameError: No such environment or option.
    """
    try:
        sources = [(str(env_id), str(options)) for env_id, options in json.loads(text)]
    except (TypeError, ValueError) as error:
        raise IntegrationError(
            f"Environments of a mixture are [[id, options], …] as JSON; got {text!r:.100}."
        ) from error
    names = prefixes([env_id for env_id, _ in sources])
    return {
        source: tuple(prefixed(spec, name) for spec in declared(source))
        for source, name in zip(sources, names, strict=True)
    }
