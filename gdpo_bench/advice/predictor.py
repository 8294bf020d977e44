"""The probability that a reward is learned, from what the advantages of the first rollouts carry of it.

A logistic function of one number: the root of s = cov(A, r) / rms(A) in units of the reward's range, which is how far a
policy gradient of unit size moves it. It was fitted to runs of the tabular twin (`benchmarks/advice.py`), whose worlds,
learning rate and horizon `docs/advise.md` names, with where it holds and where it fails.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEARNED = 0.5
"""A reward is learned when this share of what was missing at the start is gained."""
SATURATED = 0.9
"""From this share of its range on there is not enough to be learned to be predicted."""


@dataclass(frozen=True)
class Predictor:
    """Coefficients of the logistic function, and how uncertain they are."""

    coefficients: Floats
    """(2,) slope and constant."""
    resampled: Floats
    """(B, 2) the same, fitted to worlds drawn with replacement."""

    def probability(self, covariance: Floats, coefficients: Floats | None = None) -> Floats:
        """How probably a reward is learned within the horizon.

        Args:
            covariance: (…) cov(A, r − group mean) / rms(A), in units of the reward's range.
            coefficients: (…, 2) others than the fitted ones.

        Returns:
            (…) probabilities.
        """
        chosen = self.coefficients if coefficients is None else coefficients
        return np.asarray(1 / (1 + np.exp(-(features(covariance) * chosen).sum(-1))))


def features(covariance: Floats) -> Floats:
    """What the logistic function is linear in: (…, 2)."""
    return np.stack([np.sign(covariance) * np.sqrt(np.abs(covariance)), np.ones_like(covariance)], axis=-1)


@cache
def fitted_predictor() -> Predictor:
    """The one that comes with the package."""
    content = json.loads((files("gdpo_bench.advice") / "predictor.json").read_text(encoding="utf-8"))
    return Predictor(np.array(content["coefficients"]), np.array(content["resampled"]))
