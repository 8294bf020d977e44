"""Observation, action and reward spaces for text environments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gdpo_bench.core.rewards import RewardSpec


class Unicode(spaces.Space[str]):
    """Every `str`: empty, a megabyte long, or with unpaired surrogates.

    `gymnasium.spaces.Text` rejects "" and all characters outside its charset, and needs seconds
    to build one that holds all of Unicode.
    """

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text."""
        return isinstance(x, str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random text, mostly ASCII, sometimes beyond it.

        Raises:
            ValueError: A mask or probability is given; texts have none.
        """
        if mask is not None or probability is not None:
            raise ValueError("Unicode.sample takes neither mask nor probability.")
        codes = self.np_random.integers(0x20, 0x7F, size=int(self.np_random.integers(0, 24)))
        beyond = self.np_random.integers(0xA0, 0x2FFF, size=codes.shape)
        return "".join(map(chr, np.where(self.np_random.random(codes.shape) < 0.1, beyond, codes)))

    @property
    def is_np_flattenable(self) -> bool:
        """Texts have no fixed length."""
        return False

    def to_jsonable(self, sample_n: Iterable[str]) -> list[str]:
        """Texts are JSON already."""
        return list(sample_n)

    def from_jsonable(self, sample_n: list[Any]) -> list[str]:
        """Texts are JSON already."""
        return list(sample_n)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unicode)

    def __hash__(self) -> int:
        return hash(Unicode)

    def __repr__(self) -> str:
        return "Unicode()"


def reward_space(specs: Sequence[RewardSpec]) -> spaces.Box:
    """The box (K,) that every step's reward vector lies in, as MO-Gymnasium names it."""
    low: NDArray[np.float64] = np.array([spec.low for spec in specs])
    high: NDArray[np.float64] = np.array([spec.high for spec in specs])
    return spaces.Box(low, high, dtype=np.float64)
