"""What the advantages of a batch can and cannot tell apart.

Cheap enough for every training step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

LEVEL_TOLERANCE = 1e-5
"""Advantages closer than this share of the batch's largest one are one level."""


@dataclass(frozen=True)
class Diagnostics:
    """How much of the reward vectors survives in the advantages of one batch."""

    distinct_levels: int
    """Number of distinct advantages."""
    groups: int
    """Number of groups."""
    zero_signal_groups: int
    """Groups in which every advantage is 0: nothing is learned from them."""
    zero_signal_share: float
    """The same as a share of all groups."""
    collapsed_rollouts: int
    """Rollouts with the advantage of another one of their group whose reward vector differs."""

    def as_dict(self) -> dict[str, float]:
        """Name → value."""
        return asdict(self)


def diagnose(advantages: Any, rewards: Any, groups: Any, applicable: Any = None, failed: Any = None) -> Diagnostics:
    """Count what the advantages distinguish.

    Args:
        advantages: (N,).
        rewards: (N, K).
        groups: Group ids (N,).
        applicable: (N, K) bool; rewards that two rollouts both lack are equal.
        failed: (N, K) bool; likewise.

    Returns:
        The counts.
    """
    levels, vectors = advantage_levels(as_array(advantages)), _vector_ids(as_array(rewards), applicable, failed)
    _, group = np.unique(as_array(groups), return_inverse=True)
    signal = np.zeros(group.max() + 1, dtype=bool)
    np.logical_or.at(signal, group, as_array(advantages) != 0)
    return Diagnostics(
        distinct_levels=int(levels.max()) + 1,
        groups=len(signal),
        zero_signal_groups=int((~signal).sum()),
        zero_signal_share=float((~signal).mean()),
        collapsed_rollouts=_collapsed(group, levels, vectors),
    )


def advantage_levels(advantages: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the distinct advantages (N,) from 0, in ascending order, at `LEVEL_TOLERANCE`."""
    order = np.argsort(advantages, kind="stable")
    rises = np.diff(advantages[order]) > LEVEL_TOLERANCE * np.abs(advantages).max()
    levels = np.empty(len(advantages), dtype=np.int64)
    levels[order] = np.concatenate([[0], np.cumsum(rises)])
    return levels


def _vector_ids(rewards: NDArray[np.float64], applicable: Any, failed: Any) -> NDArray[np.int64]:
    absent = np.zeros(rewards.shape, dtype=bool)
    if applicable is not None:
        absent |= ~as_array(applicable)
    if failed is not None:
        absent |= as_array(failed)
    rows = np.concatenate([np.where(absent, 0.0, rewards), absent], axis=1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _collapsed(group: NDArray[np.int64], levels: NDArray[np.int64], vectors: NDArray[np.int64]) -> int:
    cells = np.unique(np.stack([group, levels, vectors]), axis=1, return_counts=True)
    (cell_group, cell_level, _), rollouts = cells
    _, share, vectors_there = np.unique(
        np.stack([cell_group, cell_level]), axis=1, return_inverse=True, return_counts=True
    )
    return int(rollouts[vectors_there[share.reshape(-1)] > 1].sum())


def as_array(values: Any) -> NDArray[Any]:
    """A tensor, array or list as a numpy array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
