"""How much of each reward the advantages of a batch carry on: what predicts whether it will be learned.

The policy gradient moves a reward's mean by its covariance with the advantages. A reward whose share of them is small
is not learned, however many distinct advantages there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.advantages.diagnostics import as_array

_NEGLIGIBLE = 1e-12
"""A root mean square below it is float noise of a constant."""


@dataclass(frozen=True)
class RewardSignal:
    """What the advantages of one batch say about one reward; rollouts that lack it are left out."""

    correlation: float
    """ρ = corr(A, r − its group's mean), in [-1, 1]; 0 if either is constant."""
    covariance: float
    """cov(A, r − its group's mean) / rms(A), in units of the reward; 0 without advantages."""
    informative: float
    """Share of groups in which the reward varies."""
    saturation: float
    """Share of rollouts with the highest value."""
    tradeoff: float
    """Smallest correlation with another reward within groups, in [-1, 1]; 0 without another that varies. Near -1 both
    cannot be had."""


def reward_signals(
    advantages: Any, rewards: Any, groups: Any, *, applicable: Any = None, failed: Any = None, highest: Any = None
) -> tuple[RewardSignal, ...]:
    """Measure how much of each reward is left in the advantages.

    Args:
        advantages: (N,).
        rewards: (N, K).
        groups: Group ids (N,).
        applicable: (N, K) bool, False where a reward is absent; default all True.
        failed: (N, K) bool, True where a scorer failed; default all False.
        highest: (K,) values of full marks; by default the highest that occur.

    Returns:
        K signals, in the order of the rewards.
    """
    target, matrix = as_array(advantages).astype(float), as_array(rewards).astype(float)
    present = np.ones(matrix.shape, dtype=bool) if applicable is None else as_array(applicable).astype(bool)
    if failed is not None:
        present = present & ~as_array(failed).astype(bool)
    _, index = np.unique(as_array(groups), return_inverse=True)
    centred = centre_within(matrix, index, present)
    deviations = np.sqrt((centred**2).sum(0) / np.maximum(present.sum(0), 1))
    together = _correlations(centred, present)
    size = _rms(target)
    top = np.where(present, matrix, -np.inf).max(0) if highest is None else np.asarray(highest, dtype=float)
    signals = []
    for k, deviation in enumerate(deviations):
        here = present[:, k]
        covariance = float((centred[here, k] * target[here]).mean()) if here.any() else 0.0
        size_here = _rms(target[here])
        signals.append(
            RewardSignal(
                correlation=covariance / float(deviation * size_here) if _varies(deviation, size_here) else 0.0,
                covariance=covariance / size if size > _NEGLIGIBLE else 0.0,
                informative=_informative(centred[:, k], index),
                saturation=float((matrix[here, k] >= top[k]).mean()) if here.any() else 0.0,
                tradeoff=float(np.delete(together[k], k).min()) if len(deviations) > 1 else 0.0,
            )
        )
    return tuple(signals)


def centre_within(values: NDArray[Any], index: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Subtract each group's mean of what is present.

    Args:
        values: (N, K).
        index: Group numbers (N,), from 0.
        present: (N, K).

    Returns:
        (N, K); 0 where a value is absent.
    """
    total, count = np.zeros((2, index.max() + 1, values.shape[1]))
    np.add.at(total, index, np.where(present, values, 0.0))
    np.add.at(count, index, present)
    return np.where(present, values - (total / np.maximum(count, 1))[index], 0.0)


def _correlations(centred: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K, K) over the rollouts that have both rewards; 0 where one of them does not vary."""
    squares = (centred**2).T @ present
    sizes = np.sqrt(squares * squares.T)
    return np.divide(centred.T @ centred, sizes, out=np.zeros_like(sizes), where=sizes > _NEGLIGIBLE)


def _informative(centred: NDArray[np.float64], index: NDArray[Any]) -> float:
    varies = np.zeros(index.max() + 1, dtype=bool)
    np.logical_or.at(varies, index, np.abs(centred) > _NEGLIGIBLE)
    return float(varies.mean())


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean())) if len(values) else 0.0


def _varies(*sizes: float) -> bool:
    return all(size > _NEGLIGIBLE for size in sizes)
