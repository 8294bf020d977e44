"""A factorial design: every level of every factor × normalizers × learning rates × seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, JsonValue, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from gdpo_bench.advantages import DomainError
from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.core import yaml
from gdpo_bench.core.choices import choice_fields
from gdpo_bench.core.errors import GdpoBenchError, UnknownNameError, guess
from gdpo_bench.core.models import Options, StrictModel
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.task import content_hash
from gdpo_bench.worlds.twin import TwinOptions
from gdpo_bench.worlds.world import make_world, world_options

DESIGNS = Path(__file__).parent / "designs"
WEIGHT = "weight"
"""The factor that is no option: weight of all rewards but the first."""
_REVISION = 1
"""Raised when the same design gives other numbers."""


class DesignError(GdpoBenchError, ValueError):
    """A design that cannot be run as it is written."""


class WorldChoice(StrictModel):
    """A world and its options."""

    name: str = "bits"
    options: Options = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return choice_fields(value, "name")


class Factorial(StrictModel):
    """A design, as its file holds it."""

    world: WorldChoice = WorldChoice()
    """`bits`, `tradeoff`, or `bits:rarity=0.01`: what holds in all cells."""
    factors: dict[str, tuple[JsonValue, ...]] = Field(default_factory=dict)
    """Factor → levels. A factor is an option of the world, one of the training, or `weight`, of all rewards but the
    first."""
    normalizers: tuple[NormalizerChoice, ...] = Field(default=("grpo", "gdpo"), min_length=1, validate_default=True)
    """`gdpo`, `gdpo:eps=1e-4`, or `{normalizer, options, weights}`."""
    learning_rates: tuple[PositiveFloat, ...] = Field(default=(0.03, 0.1, 0.3), min_length=1)
    """Of Adam."""
    seeds: PositiveInt = 12
    """Runs of each cell, normalizer and learning rate."""
    first_seed: NonNegativeInt = 0
    """Seeds count from here: two designs may differ in nothing else."""
    training: TwinOptions = TwinOptions()
    learned: PositiveFloat = Field(default=0.5, lt=1)
    """A run has learned if at the end more than this share of replies does all that is asked."""
    front: bool = False
    """Whether what counts is how near the runs come to the Pareto front; over the levels of `weight`, if given."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        known = {*world_options(self.world.name), *TwinOptions.model_fields, WEIGHT}
        for factor, levels in self.factors.items():
            if factor not in known:
                raise ValueError(str(UnknownNameError("factor", factor, known)))
            if not levels or len({str(level) for level in levels}) < len(levels):
                raise ValueError(f"factor {factor}: levels must be there and differ; got {list(levels)}")
        for name in ("normalizers", "learning_rates"):
            chosen = getattr(self, name)
            if any(one in chosen[:i] for i, one in enumerate(chosen)):
                raise ValueError(f"{name}: one is listed twice")
        return self

    @property
    def key(self) -> str:
        """Hash of everything that determines the numbers."""
        return content_hash([_REVISION, self.model_dump(mode="json")], 8)

    @classmethod
    def load(cls, source: str) -> dict[str, Any]:
        """The content of a design file, or of a bundled design by name.

        Raises:
            DesignError: No such file, or not a YAML mapping.
        """
        path = Path(source)
        if not path.is_file() and (DESIGNS / f"{source}.yaml").is_file():
            path = DESIGNS / f"{source}.yaml"
        try:
            content = yaml.parse(path.read_text(encoding="utf-8")).value
        except FileNotFoundError:
            known = sorted(file.stem for file in DESIGNS.glob("*.yaml"))
            raise DesignError(
                f"There is no design file {source!r}, nor a bundled design of that name: {', '.join(known)}."
                f"{guess(source, known)}"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.NotYAMLError) as error:
            raise DesignError(f"Cannot read the design {path}: {error}") from error
        if not isinstance(content, dict):
            raise DesignError(
                f"{path}: expected a mapping such as `factors: {{rarity: [0.01, 0.1]}}`; got {content!r:.80}."
            )
        return content

    @classmethod
    def check(cls, values: dict[str, Any]) -> Self:
        """A design from what a file or a command line holds.

        Raises:
            DesignError: A field that there is not, or a value that it cannot have.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [
                f"  {'.'.join(map(str, problem['loc'])) or 'design'}: {problem['msg'].removeprefix('Value error, ')}"
                + ("" if problem["type"] == "value_error" else f" (got {problem['input']!r:.80})")
                for problem in error.errors()
            ]
            raise DesignError("This is not a design:\n" + "\n".join(problems)) from error


@dataclass(frozen=True)
class Cell:
    """One combination of levels."""

    levels: dict[str, Any]
    """Factor → level."""
    world: WorldChoice
    training: TwinOptions
    weight: float

    def weights(self, choice: NormalizerChoice, specs: tuple[RewardSpec, ...]) -> dict[str, float]:
        """Reward → weight; a normalizer's own weights win over the factor's."""
        return {spec.name: self.weight for spec in specs[1:]} | choice.starting_weights


@dataclass(frozen=True)
class Run:
    """One training of the twin."""

    cell: Cell
    normalizer: NormalizerChoice
    learning_rate: float
    seed: int
    """As the design counts."""
    randomness: int
    """Seed of tasks, parameters and rollouts."""


def cells(design: Factorial) -> list[Cell]:
    """Every combination of levels, in the order of the design.

    Raises:
        GdpoBenchError: Levels that no world or training can have.
    """
    found = []
    for levels in itertools.product(*design.factors.values()):
        named: dict[str, Any] = dict(zip(design.factors, levels, strict=True))
        of_world = {name: level for name, level in named.items() if name in world_options(design.world.name)}
        of_training = {name: level for name, level in named.items() if name in TwinOptions.model_fields}
        world = WorldChoice(name=design.world.name, options=design.world.options | of_world)
        make_world(world.name, world.options)
        try:
            training = TwinOptions.model_validate(design.training.model_dump() | of_training)
            weight = float(named.get(WEIGHT, 1.0))
        except (ValidationError, TypeError, ValueError) as error:
            raise DesignError(f"The levels {named} cannot be trained with: {error}") from error
        found.append(Cell(named, world, training, weight))
    return found


def runs(design: Factorial) -> tuple[list[Run], list[str]]:
    """All runs of a design, and which normalizers take no part where, a text each.

    Runs of one cell and seed share their randomness over normalizers and learning rates, so that these are compared in
    pairs; a front's weights too. Cells share none, so that what is counted over cells counts independent runs.

    Raises:
        GdpoBenchError: An unknown normalizer or option, or levels that cannot be had.
    """
    for choice in design.normalizers:
        choice.make()
    found: list[Run] = []
    left_out: list[str] = []
    for cell in cells(design):
        world = make_world(cell.world.name, cell.world.options)
        specs = world.specs
        if design.front and not world.has_known_front:
            raise DesignError(
                "A front is known for two rewards that apply to all tasks, without noise and gates; got "
                f"{len(specs)} rewards of world {cell.world.name!r} with {cell.world.options}."
            )
        known = {spec.name for spec in specs}
        for choice in design.normalizers:
            for name in choice.weights:
                if name not in known:
                    raise UnknownNameError(f"reward in the weights of {choice.normalizer!r}", name, known)
            reason = _outside(choice, cell, specs)
            if reason is None:
                found += _of_cell(design, cell, choice)
            else:
                left_out.append(f"{choice.label} takes no part at {cell.levels}: {reason}")
    if not found:
        raise DesignError("No normalizer of this design can take its rewards. " + " ".join(left_out))
    return found, left_out


def _outside(choice: NormalizerChoice, cell: Cell, specs: tuple[RewardSpec, ...]) -> str | None:
    """Why a normalizer cannot take a cell's rewards, where it says so."""
    check = getattr(choice.make(), "check_rewards", None)
    if not callable(check):
        return None
    try:
        check(specs, {spec.name: spec.weight for spec in specs} | cell.weights(choice, specs))
    except DomainError as error:
        return str(error)
    return None


def _of_cell(design: Factorial, cell: Cell, choice: NormalizerChoice) -> Iterator[Run]:
    apart = {name: level for name, level in cell.levels.items() if not (design.front and name == WEIGHT)}
    for rate, seed in itertools.product(design.learning_rates, range(design.seeds)):
        number = design.first_seed + seed
        yield Run(cell, choice, rate, number, int(content_hash([apart, number], 12), 16))
