"""From the rewards of many rollouts to the means that are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdpo_bench.core import RewardSpec
from gdpo_bench.core.rewards import Metric
from gdpo_bench.core.scoring import Scores


@dataclass(frozen=True)
class Evaluation:
    """Means over rollouts, by name."""

    step: int
    rewards: dict[str, float]
    """Reward → mean over the rollouts that it applies to, gates applied; 0 where it nowhere applies."""
    metrics: dict[Metric, float]
    """Canonical metric → its value in [0, 1], from raw rewards."""
    applicable: dict[str, float]
    """Reward → share of the rollouts that it applies to and was judged on."""


def evaluate(scores: Scores, specs: Sequence[RewardSpec], step: int = 0) -> Evaluation:
    """Average the rewards of rollouts.

    Args:
        scores: Rewards (N, K).
        specs: The K rewards.
        step: Training steps before this.

    Returns:
        The means; a reward that nowhere applies has mean 0 and no metric.
    """
    rewards: dict[str, float] = {}
    metrics: dict[Metric, float] = {}
    applicable: dict[str, float] = {}
    for k, spec in enumerate(specs):
        judged = scores.applicable[:, k] & ~scores.failed[:, k]
        applicable[spec.name] = float(judged.mean())
        rewards[spec.name] = float(scores.values[judged, k].mean()) if judged.any() else 0.0
        if spec.metric is not None and judged.any():
            full = float((scores.raw[judged, k] >= spec.high).mean())
            metrics[spec.metric] = full if spec.full_marks_count() else 1 - full
    return Evaluation(step, rewards, metrics, applicable)
