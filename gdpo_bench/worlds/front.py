"""Two rewards against each other: the Pareto front, and how near policies come to it.

A policy's mean rewards are a mixture of its replies' rewards, so the front of all policies is the upper right side of
the convex hull of what single replies earn. All values are shares of the rewards' ranges, so the worst point is (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import integrate

from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.worlds.world import Floats


def share_of_range(values: Floats, specs: Sequence[RewardSpec]) -> Floats:
    """Rewards (N, K) as shares of their declared ranges, in [0, 1]."""
    low, high = np.array([(spec.low, spec.high) for spec in specs]).T
    return np.asarray((values - low) / (high - low))


def pareto_front(replies: Floats) -> Floats:
    """Corners (C, 2) of the front of all mixtures of replies, from the least of the first reward to the most.

    The first corner has the first reward 0 or the most of the second one; between corners the front is straight.

    Args:
        replies: (A, 2), in [0, 1].
    """
    corners: list[Floats] = []
    for point in replies[np.lexsort((replies[:, 1], replies[:, 0]))[::-1]]:  # the most of the first reward first
        if corners and point[1] <= corners[-1][1]:
            continue
        while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0:
            corners.pop()
        corners.append(point)
    return np.array(corners[::-1])


def hypervolume(points: Floats) -> float:
    """Area that is dominated by at least one of the points (N, 2), seen from (0, 0)."""
    area = reached = 0.0
    for first, second in points[np.argsort(-points[:, 0], kind="stable")]:
        area += first * max(0.0, second - reached)
        reached = max(reached, float(second))
    return float(area)


def front_hypervolume(front: Floats) -> float:
    """Area below a front (C, 2), which all its mixtures dominate together, seen from (0, 0)."""
    return float(front[0, 0] * front[0, 1] + integrate.trapezoid(front[:, 1], front[:, 0]))


def distance_to_front(points: Floats, front: Floats) -> Floats:
    """Euclidean distances (N,) of points (N, 2) from the front's line."""
    if len(front) == 1:
        return np.asarray(np.linalg.norm(points - front[0], axis=1))
    begin, along = front[:-1], np.diff(front, axis=0)
    share = ((points[:, None] - begin) * along).sum(axis=2) / (along**2).sum(axis=1)
    nearest = begin + share.clip(0, 1)[..., None] * along
    return np.asarray(np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1))


def _turn(a: Floats, b: Floats, c: Floats) -> float:
    """Above 0 where the way from a over b to c turns left."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
