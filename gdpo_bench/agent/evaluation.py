"""How a policy is measured on tasks that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from gdpo_bench.agent.backends.protocol import RolloutBackend, Sampling
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Replies, Rollouts, concatenate_replies, draw
from gdpo_bench.agent.scale.processes import World
from gdpo_bench.core import GroupVectorEnv, make_vec
from gdpo_bench.core.measurements import Evaluation, evaluate
from gdpo_bench.core.scoring import Scores

EVAL_SEED = 777
"""The held-out tasks and their sampling noise are the same for all runs, which are compared in pairs."""
_CHUNK = 64
"""Tasks that are played side by side."""


def draw_held_out(
    env: GroupVectorEnv, policy: Policy, backend: RolloutBackend, sampling: Sampling, world: World, *, samples: int = 1
) -> Rollouts:
    """Rollouts on the first held-out tasks, of all processes, under one or more seeds of sampling.

    Args:
        env: This process's share of the rollouts.
        policy: Encodes prompts and decodes replies.
        backend: Draws completions.
        sampling: How to draw.
        world: The processes.
        samples: How many seeds; the rollouts of a prompt are one group, whatever seed they were drawn under.
    """

    def under(seed: int) -> tuple[Replies, Scores]:
        rng = world.generator(seed)
        mine, score = world.barrier(lambda: draw(env, policy, backend, sampling=sampling, rng=rng, seed=EVAL_SEED))
        replies = concatenate_replies(world.all_gather(lambda: mine))
        return replies, reduce(Scores.stack, world.all_gather(score))

    replies, scores = zip(*(under(EVAL_SEED + sample) for sample in range(samples)), strict=True)
    groups = np.concatenate([one.groups for one in replies])
    return replace(concatenate_replies(replies), groups=groups).scored(reduce(Scores.stack, scores))


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
            _, score = draw(part, policy, backend, sampling=sampling, rng=rng, task_ids=ids)
            scores = scores.stack(score())
        return scores

    return evaluate(reduce(Scores.stack, world.all_gather(play)), env.reward_specs)
