"""Designed rewards, known exactly: K things that a reply does or does not do, and what each is worth.

`gdpo/Bits-v0` asks them of a text, the tabular twin (`gdpo_bench.worlds`) of an action in a table. Both take what
rewards are worth and how often replies earn them at the start from here, so that one is a model of the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.errors import DeclarationError
from gdpo_bench.core.rewards import Gate, RewardSpec

MOST_REWARDS = 8
REWARD_NAMES = ("large", *(f"small{k}" for k in range(1, MOST_REWARDS)))
_NORMAL = NormalDist()


@dataclass(frozen=True)
class RewardDesign:
    """One large reward and K − 1 small ones.

    Raises:
        DeclarationError: An option outside its range, or options that contradict each other.
    """

    rewards: int = 2
    """K, from 1 to 8."""
    scale: float = 6.0
    """What the large reward is worth beside a small one, which is worth 1."""
    rarity: float = 0.04
    """Share of replies that earn a small reward at the start."""
    common: float = 0.3
    """Share of replies that earn the large reward at the start."""
    correlation: float = 0.0
    """Between the large reward and each small one at the start, of the normal variables behind them (a Gaussian
    copula), in [-0.95, 0.95]; small ones correlate by its size among each other."""
    conflict: float = 0.0
    """Share of the large reward that earning the first small one costs, in [0, 0.95]."""
    noise: float = 0.0
    """Standard deviation of what is added to each reward, as a share of its worth; uniform, hence bounded."""
    applicable: float = 1.0
    """Share of tasks to which a small reward applies, each by itself."""
    gated: bool = False
    """Whether small rewards count only where the large one is earned."""

    def __post_init__(self) -> None:
        ranges = {
            "rewards": (1, MOST_REWARDS),
            "rarity": (0, 1),
            "common": (0, 1),
            "correlation": (-0.95, 0.95),
            "conflict": (0, 0.95),
            "applicable": (0, 1),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise DeclarationError(f"{name} must lie in [{low}, {high}]; got {getattr(self, name)}.")
        for name in ("rarity", "common", "applicable"):
            if getattr(self, name) == 0:
                raise DeclarationError(f"{name} must be above 0; got 0.")
        if not (0 < self.scale < math.inf and 0 <= self.noise < math.inf):
            raise DeclarationError(f"scale must be above 0, noise at least 0; got {self.scale} and {self.noise}.")
        alone = [name for name in ("correlation", "conflict", "gated") if self.rewards == 1 and getattr(self, name)]
        if alone:
            raise DeclarationError(f"{' and '.join(alone)}: that needs a second reward; got rewards=1.")
        if self.gated and self.noise:
            raise DeclarationError("gated and noise exclude each other: a noisy reward is no condition.")

    @property
    def worth(self) -> NDArray[np.float64]:
        """(K,) what each reward is worth."""
        return np.array([self.scale] + [1.0] * (self.rewards - 1))

    @property
    def noise_width(self) -> NDArray[np.float64]:
        """(K,) half of the interval from which noise comes."""
        return math.sqrt(3) * self.noise * self.worth

    @property
    def specs(self) -> tuple[RewardSpec, ...]:
        """The K declarations: ranges as narrow as the options allow."""
        cost = np.zeros(self.rewards)
        cost[0] = self.conflict * self.scale
        plain = not self.noise
        # What earning it is worth at least, with what it is worth otherwise: the middle tells them apart.
        earned = self.worth - cost
        gate = Gate(on=REWARD_NAMES[0], at_least=self.scale * (1 - self.conflict) / 2) if self.gated else None
        return tuple(
            RewardSpec(
                name=REWARD_NAMES[k],
                low=float(-cost[k] - self.noise_width[k]),
                high=float(self.worth[k] + self.noise_width[k]),
                kind="binary" if plain and not cost[k] else "graded",
                gate=gate if k else None,
                metric="accuracy" if k == 0 and plain and not cost[k] else None,
                right=None if plain and not cost[k] else float(earned[k] / 2),
            )
            for k in range(self.rewards)
        )

    def values(self, earned: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Rewards (N, K) before noise and gates, for what N replies earned (N, K)."""
        values = earned * self.worth
        if self.conflict:
            values[:, 0] -= self.conflict * self.scale * earned[:, 1]
        return values

    def chances(self, common_cause: float) -> list[float]:
        """(K,) how probably each reward is earned at the start, independently given the common cause.

        Args:
            common_cause: A draw from the standard normal distribution, one a reply.
        """
        shared, own = math.sqrt(abs(self.correlation)), math.sqrt(1 - abs(self.correlation))
        signs = [math.copysign(1, self.correlation)] + [1.0] * (self.rewards - 1)
        rates = [self.common] + [self.rarity] * (self.rewards - 1)
        return [
            1.0 if rate == 1 else _NORMAL.cdf((_NORMAL.inv_cdf(rate) + sign * shared * common_cause) / own)
            for sign, rate in zip(signs, rates, strict=True)
        ]
