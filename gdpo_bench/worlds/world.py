"""Worlds of the tabular twin: every reply that there is, what it earns, and how probable it is at the start."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from gdpo_bench.core.designed import MOST_REWARDS, RewardDesign
from gdpo_bench.core.errors import DeclarationError, UnknownNameError
from gdpo_bench.core.rewards import RewardSpec

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_NODES = 64
"""Of the quadrature over the common cause of correlated rewards."""


@dataclass(frozen=True, eq=False)
class World:
    """A replies that a policy chooses from, each with K rewards."""

    specs: tuple[RewardSpec, ...]
    """The K declarations."""
    features: Floats
    """(A, F) what the policy's parameters act on. Tasks differ in how easy the first feature is to have."""
    start: Floats
    """(A,) probabilities before training."""
    rewards: Floats
    """(A, K) before noise and gates."""
    right: NDArray[np.bool_]
    """(A, K) whether what the reward asks for is done."""
    noise_width: Floats
    """(K,) half of the interval of the noise that is added."""
    applicable: Floats
    """(K,) share of tasks that each reward applies to."""

    @property
    def has_known_front(self) -> bool:
        """Whether single replies tell the Pareto front: two rewards for all tasks, without noise and gates."""
        plain = not self.noise_width.any() and bool((self.applicable == 1).all())
        return plain and len(self.specs) == 2 and not any(spec.gate for spec in self.specs)


def bits(design: RewardDesign) -> World:
    """The world of `gdpo/Bits-v0`: a reply is the set of the rewards that it earns."""
    earned = _subsets(design.rewards)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES if design.correlation else 1)
    chances = np.array([design.chances(float(node)) for node in nodes])
    given = np.where(earned, chances[:, None], 1 - chances[:, None]).prod(axis=2)
    return World(
        specs=design.specs,
        features=earned.astype(float),
        start=_probabilities(weights @ given),
        rewards=design.values(earned),
        right=earned,
        noise_width=design.noise_width,
        applicable=np.array([1.0] + [design.applicable] * (design.rewards - 1)),
    )


@dataclass(frozen=True)
class TradeoffDesign:
    """Two rewards of which one is bought with the other, ever more dearly.

    Each of M bits earns 1/M of the small reward, and the m-th, m = 1 to M, costs m / (1 + … + M) of the large one.

    Raises:
        DeclarationError: An option outside its range.
    """

    bits: int = 5
    """M, from 1 to 8."""
    scale: float = 6.0
    """What the large reward is worth without any bit; the small one is worth 1 with all."""
    rarity: float = 0.2
    """Share of replies that have a bit at the start, each by itself."""

    def __post_init__(self) -> None:
        if not (1 <= self.bits <= MOST_REWARDS and self.scale > 0 and 0 < self.rarity < 1):
            raise DeclarationError(
                f"bits must lie in [1, {MOST_REWARDS}], scale above 0 and rarity between 0 and 1; "
                f"got {self.bits}, {self.scale} and {self.rarity}."
            )


def tradeoff(design: TradeoffDesign) -> World:
    """A world whose Pareto front leads from no bit to all, the cheapest first: a concave line of M + 1 corners."""
    bits, scale, rarity = design.bits, design.scale, design.rarity
    have = _subsets(bits)
    costs = np.arange(1, bits + 1) / sum(range(1, bits + 1))
    values = np.stack([scale * (1 - have @ costs), have.mean(axis=1)], axis=1)
    specs = (RewardSpec("large", 0.0, scale), RewardSpec("small", 0.0, 1.0))
    return World(
        specs=specs,
        features=have.astype(float),
        start=_probabilities(np.where(have, rarity, 1 - rarity).prod(axis=1)),
        rewards=np.clip(values, 0, [scale, 1]),
        right=np.stack([~have.any(axis=1), have.all(axis=1)], axis=1),
        noise_width=np.zeros(2),
        applicable=np.ones(2),
    )


WORLDS: Mapping[str, tuple[type, Callable[[Any], World]]] = {
    "bits": (RewardDesign, bits),
    "tradeoff": (TradeoffDesign, tradeoff),
}
"""Name → its options, and what makes a world of them."""


def world_options(name: str) -> tuple[str, ...]:
    """The options that a world has.

    Raises:
        UnknownNameError: There is no such world.
    """
    if name not in WORLDS:
        raise UnknownNameError("world", name, WORLDS)
    return tuple(field.name for field in dataclasses.fields(WORLDS[name][0]))


def make_world(name: str, options: Mapping[str, Any]) -> World:
    """A world by name.

    Raises:
        UnknownNameError: No such world or option.
        DeclarationError: An option outside its range, or of another type.
    """
    known = world_options(name)
    for option in options:
        if option not in known:
            raise UnknownNameError(f"option of world {name!r}", option, known)
    cls, build = WORLDS[name]
    try:
        return build(TypeAdapter(cls).validate_python(dict(options)))
    except ValidationError as error:
        problems = "; ".join(
            " ".join([*map(str, problem["loc"]), problem["msg"].removeprefix("Value error, ")]).rstrip(".")
            for problem in error.errors()
        )
        raise DeclarationError(f"World {name!r}: {problems}.") from error


def _subsets(size: int) -> NDArray[np.bool_]:
    """All (2^size, size) subsets."""
    return np.array(list(itertools.product((False, True), repeat=size)))


def _probabilities(weights: Floats) -> Floats:
    """Weights (A,) as probabilities; what rounding left at 0 stays possible."""
    positive = np.maximum(weights, 1e-12)
    return np.asarray(positive / positive.sum())
