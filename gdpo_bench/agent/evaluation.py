"""From the rewards of many rollouts to the means that are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from gdpo_bench.agent.backend import RolloutBackend, Sampling
from gdpo_bench.agent.collect import collect
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.world import World
from gdpo_bench.core import RewardSpec, make_vec
from gdpo_bench.core.rewards import Metric
from gdpo_bench.core.scoring import Scores

EVAL_SEED = 777
"""The held-out tasks and their sampling noise are the same for all runs, which are compared in pairs."""
_CHUNK = 64
"""Tasks that are played side by side."""


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


def evaluate_suite(
    env_id: str,
    options: Mapping[str, Any],
    policy: Policy,
    backend: RolloutBackend,
    *,
    sampling: Sampling,
    group_size: int,
    world: World = World(),  # noqa: B008 (no state)
) -> Evaluation:
    """Measure a policy on every held-out task of an environment.

    Args:
        env_id: The environment.
        options: Its options.
        policy: Encodes prompts and decodes replies.
        backend: Draws completions.
        sampling: How to draw.
        group_size: Rollouts a task.
        world: The processes, each of which plays its share of the tasks.

    Returns:
        The means over all rollouts.
    """
    env = make_vec(env_id, 1, 1, "eval", **options)
    tasks = world.share(env.tasks)
    rng = world.generator(EVAL_SEED)

    def play() -> Scores:
        scores = Scores.empty(0, env.reward_dim)
        for start in range(0, len(tasks), _CHUNK):
            ids = [task.id for task in tasks[start : start + _CHUNK]]
            part = make_vec(env_id, len(ids), group_size, "eval", **options)
            scores = scores.stack(collect(part, policy, backend, sampling=sampling, rng=rng, task_ids=ids).scores)
        return scores

    return evaluate(reduce(Scores.stack, world.gather(play)), env.reward_specs)
