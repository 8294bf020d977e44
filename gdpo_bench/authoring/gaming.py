"""`gdpo-bench check ID --gaming`: how far an environment's rewards can be had by replies that ignore their task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.authoring.gaming_policies import Policy, Replies, Seen, gaming_policies
from gdpo_bench.authoring.probes import Probe, demonstration_probes, played, reference_probes, spread
from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.env import TextEnv
from gdpo_bench.core.errors import DataError, GdpoBenchError, UnknownNameError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.gaming import ALL_RIGHT, GamingCertificate, Means, RewardRange
from gdpo_bench.core.measurements import all_right, evaluate
from gdpo_bench.core.registry import make_env, spec
from gdpo_bench.core.scoring import Scores
from gdpo_bench.core.task import Task, content_hash

TASKS = 64
"""Tasks that are replied to, unless another number is asked for."""
_SEEN = 64
"""Demonstrations that the policies know, each with the reference of its task."""
_CANDIDATES, _TRIED_ON = 32, 16
"""Replies that are tried as a constant one, and tasks on which each is."""
_DIGITS = 4
"""Of a mean, in a certificate."""


def certify(id: str, tasks: int = TASKS, seed: int = 0, **options: Any) -> GamingCertificate:
    """Play gaming policies and the references on held-out tasks.

    The policies know demonstrations and references of training tasks. An environment without a training split is
    halved: they know the references of one half, and reply to the other.

    Args:
        id: The environment, `namespace/Name-v0` or `module:namespace/Name-v0`, or `scheme:name`.
        tasks: How many tasks to reply to, at most.
        seed: Fixes which replies the policies know.
        **options: The environment's options.

    Returns:
        What each of them earns.

    Raises:
        GdpoBenchError: The environment cannot be made or scored here, its data are missing, or a reward is not what its
            declaration allows.
    """
    if tasks < 1:
        raise GdpoBenchError(f"The number of tasks to reply to must be at least 1; got {tasks}.")
    found = spec(id)
    with blaming(found.id):
        env = make_env(id, **options)
        if lacking := env.unavailable():
            raise GdpoBenchError(f"{found.id}: {lacking}")
        return _certify(env, found.id, found.options_with(options), tasks, seed)


def _certify(env: TextEnv[Any], name: str, options: dict[str, Any], count: int, seed: int) -> GamingCertificate:
    split = env.splits[-1]
    held_out = tasks_of(env, split, name)
    rng = Random(seed)
    known, seen = _known(env, name, seed)
    asked: Sequence[Task] = held_out
    if not known and len(held_out) > 1:
        known, asked = reference_probes(env, name, spread(held_out[::2], _SEEN)), held_out[1::2]
        seen = f"{len(known)} references of {split!r}, of tasks that were not replied to"
    if not known:
        seen = "no replies, since there are neither demonstrations nor references"
    chosen = spread(asked, count)
    references = reference_probes(env, name, chosen)
    chosen = [probe.task for probe in references] or chosen
    policies = _policies(env, name, known, rng)
    specs = env.reward_specs
    allowed = dict(env.gameable())
    for column in allowed:
        if column not in (ALL_RIGHT, *(one.name for one in specs)):
            raise UnknownNameError(f"reward in gameable() of {name}", column, [one.name for one in specs], "")
    return GamingCertificate(
        environment=name,
        options=options,
        grader_revision=env.grader_revision,
        data_revision=env.data_revision(),
        split=split,
        task_ids_hash=content_hash(sorted({task.id for task in held_out})),
        tasks=len(chosen),
        seed=seed,
        seen=seen,
        rewards={
            one.name: RewardRange(low=one.low + 0.0, high=one.high, correctness=one.metric == "accuracy")
            for one in specs
        },
        oracle=_means(env, name, references) if references else None,
        policies={
            policy.name: _means(env, name, [Probe(task, policy.reply(task), policy.name) for task in chosen])
            for policy in policies
        },
        allowed=allowed,
    )


def _known(env: TextEnv[Any], name: str, seed: int) -> tuple[list[Probe], str]:
    """Replies to training tasks, and in words what they are."""
    try:
        demonstrations = demonstration_probes(env, name, _SEEN, seed)
        tasks = {probe.task.id: probe.task for probe in demonstrations}
        if not tasks and "train" in env.splits and env.splits[-1] != "train":
            tasks = {task.id: task for task in spread(tasks_of(env, "train", name), _SEEN)}
    except DataError:  # of the training split; what is held out may be there
        return [], ""
    references = reference_probes(env, name, list(tasks.values()))
    return [*references, *demonstrations], (
        f"{len(demonstrations)} demonstrations and {len(references)} references of training tasks"
    )


def _policies(env: TextEnv[Any], name: str, known: Sequence[Probe], rng: Random) -> list[Policy]:
    """All gaming policies; those of one constant reply come last."""
    replies = tuple(dict.fromkeys(probe.replies for probe in known))
    scores = _scores(env, name, known)
    form = _form(env, scores)
    well_formed = tuple(
        dict.fromkeys(probe.replies for probe, share in zip(known, form, strict=True) if share == form.max())
    )
    seen = Seen(replies, well_formed, lambda task: "\n\n".join(message["content"] for message in env.messages(task)))
    return [*gaming_policies(seen, rng), *_constants(env, name, known)]


def _form(env: TextEnv[Any], scores: Scores) -> NDArray[np.float64]:
    """(N,) what each rollout earns in the rewards that are no correctness: the mean share of their ranges."""
    specs = env.reward_specs
    kept = [k for k, one in enumerate(specs) if one.metric != "accuracy"]
    lows, highs = (np.array([getattr(specs[k], end) for k in kept], float) for end in ("low", "high"))
    counted = scores.applicable[:, kept] & ~scores.failed[:, kept]
    shares = np.where(counted, (scores.raw[:, kept] - lows) / (highs - lows), 0.0)
    earned: NDArray[np.float64] = shares.sum(1) / np.maximum(1, counted.sum(1))
    return earned


def _constants(env: TextEnv[Any], name: str, known: Sequence[Probe]) -> list[Policy]:
    """The constant replies that earn most in one reward, or are most often all right, on tasks of the known replies."""
    candidates = spread(list(dict.fromkeys(probe.replies for probe in known)), _CANDIDATES)
    tasks = spread(list({probe.task.id: probe.task for probe in known}.values()), _TRIED_ON)
    if not candidates:
        return []
    tried = [_means(env, name, [Probe(task, replies, "a constant") for task in tasks]) for replies in candidates]
    best: dict[Replies, list[str]] = {}
    for column in tried[0]:
        earned = [-np.inf if (mean := means[column]) is None else mean for means in tried]
        best.setdefault(candidates[int(np.argmax(earned))], []).append(column)
    return [Policy(f"best constant for {columns[0]}", _always(replies)) for replies, columns in best.items()]


def _always(replies: Replies) -> Callable[[Task], Replies]:
    return lambda task: replies


def _means(env: TextEnv[Any], name: str, probes: Sequence[Probe]) -> Means:
    scores = _scores(env, name, probes)
    rewards = evaluate(scores, env.reward_specs).rewards
    found: Means = {one.name: rewards.get(one.name) for one in env.reward_specs}
    found[ALL_RIGHT] = all_right(scores, env.reward_specs)
    return {column: None if value is None else round(value, _DIGITS) + 0.0 for column, value in found.items()}


def _scores(env: TextEnv[Any], name: str, probes: Sequence[Probe]) -> Scores:
    if not probes:
        return Scores.empty(0, len(env.reward_specs))
    return played(env, name, probes)[1]
