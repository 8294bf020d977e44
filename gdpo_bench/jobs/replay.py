"""A job without training: given replies are scored, and each normalizer shows what it makes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from gdpo_bench.advantages import DomainError, compute_advantages, diagnose
from gdpo_bench.agent.completions import Completions, read_completions
from gdpo_bench.agent.rollouts import check_failures
from gdpo_bench.core import Task, TextEnv
from gdpo_bench.core.authored import demonstrations_of, reference_of
from gdpo_bench.core.env import Script, script_replies
from gdpo_bench.core.measurements import RewardVectors, curves, evaluate, label_agreement
from gdpo_bench.core.scoring import SHOWN_CHARACTERS, EpisodeBatch, Scores
from gdpo_bench.core.task import content_hash
from gdpo_bench.jobs.engines.local import single_thread
from gdpo_bench.jobs.job import JobError
from gdpo_bench.jobs.plan import Plan, PlannedEnv, PlannedNormalizer
from gdpo_bench.jobs.progress import show_failure
from gdpo_bench.leaderboard import Curve, PolicyConfig, SeedResult, collect_provenance, make_entry
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun
from gdpo_bench.leaderboard.files.store import Measured

_CHUNK = 1024
"""Rollouts scored at once."""
_GROUPS, _GROUP_SIZE, _DRAWN = 64, 8, 20_000
"""Tasks whose demonstrations are scored, demonstrations of each, and how many are drawn at most to find them."""


@dataclass(frozen=True)
class FrozenRollouts:
    """Replies that do not depend on any training; those to one task are a group."""

    tasks: list[Task]
    """N tasks, repeated for each of their replies."""
    replies: list[Script]
    """The N rollouts' replies."""
    groups: NDArray[np.int64]
    """(N,) index of the task's group."""
    labels: list[bool | None]
    """N labels, whether others call the reply correct, where there are any."""

    @classmethod
    def grouped(cls, groups: Sequence[tuple[Task, Sequence[Script]]]) -> FrozenRollouts:
        """Tasks with the replies to each, which nobody labelled."""
        tasks = [task for task, replies in groups for _ in replies]
        numbers = np.repeat(np.arange(len(groups)), [len(replies) for _, replies in groups])
        return cls(tasks, [reply for _, replies in groups for reply in replies], numbers, [None] * len(tasks))

    @classmethod
    def of(cls, completions: Completions[Task]) -> FrozenRollouts:
        """A file's replies."""
        grouped = cls.grouped([(group.task, group.replies) for group in completions.groups])
        labels = [label for group in completions.groups for label in group.labels or [None] * len(group.replies)]
        return replace(grouped, labels=labels)


def score_frozen(plan: Plan, command: str, console: Console) -> list[Measured]:
    """Score references, demonstrations or a file's replies on every environment of a job.

    Args:
        plan: The job.
        command: What repeats it, for the entries.
        console: Shows progress.

    Returns:
        An entry on the advantage track, with its sidecar, for each environment × normalizer.

    Raises:
        JobError: An environment without such replies, or replies that do not reach an episode's end.
        DataError: The file of completions cannot be used.
        ScorerFailuresError: Reward functions failed too often.
        RewardError: A reward is not what its declaration allows.
    """
    single_thread()  # sums come in one order, and advantages, which are part of an entry, in the same last bits
    found = [(env, _rollouts(plan, env, console)) for env in plan.envs]  # all of them, before any is scored
    return [entry for env, rollouts in found for entry in _entries(plan, env, rollouts, command, console)]


def _rollouts(plan: Plan, env: PlannedEnv, console: Console) -> FrozenRollouts:
    match plan.policy.kind:
        case "replay":
            return _replayed(plan, env, console)
        case "demonstrations":
            return _demonstrated(env)
        case _:
            return _references(env)


def _entries(
    plan: Plan, env: PlannedEnv, rollouts: FrozenRollouts, command: str, console: Console
) -> Iterator[Measured]:
    started = time.perf_counter()
    scores = score_rollouts(env.env, env.description.id, rollouts, console)
    check_failures(scores, env.training.max_failed_share)
    for failure in scores.failures[:3]:
        show_failure(console, f"{failure!s:.{SHOWN_CHARACTERS}}")
    evaluation = evaluate(scores, env.specs)
    rewards, metrics = curves([evaluation], env.specs)
    agreement = label_agreement(scores, env.specs, rollouts.labels)
    for normalizer in (normalizer for one, normalizer in plan.pairs if one is env):
        advantages, lengths = _advantages(env, normalizer, rollouts, scores)
        diagnostics = diagnose(advantages, scores.values, rollouts.groups, scores.applicable, scores.failed).as_dict()
        vectors = RewardVectors(
            0,
            scores,
            np.array([task.id for task in rollouts.tasks]),
            rollouts.groups,
            lengths,
            advantages=advantages.double().numpy(),
            labels=rollouts.labels if "labels" in agreement else [],
        )
        sidecar = Sidecar.of((spec.name for spec in env.specs), [SidecarRun(None, [vectors])])
        entry = make_entry(
            track="advantage",
            division="closed",
            environment=env.description,
            normalizer=normalizer.describe(env.specs),
            policy=PolicyConfig(
                name=plan.policy.name,
                details={
                    "rollouts": len(rollouts.replies),
                    "completions": content_hash(
                        [(t.id, r) for t, r in zip(rollouts.tasks, rollouts.replies, strict=True)]
                    ),
                },
            ),
            training=None,
            results=[
                SeedResult(
                    seed=None,
                    steps=[0],
                    rewards={name: Curve.of(curve) for name, curve in rewards.items()},
                    metrics={name: Curve.of(curve) for name, curve in metrics.items()},
                    diagnostics=diagnostics | agreement,
                    applicable_share={name: share for name, share in evaluation.applicable.items() if share < 1},
                )
            ],
            sidecar=sidecar.sha256,
            provenance=collect_provenance(
                command, wall_s=time.perf_counter() - started, programs=env.env.runs_programs_with()
            ),
        )
        yield Measured(entry, sidecar)


def _advantages(
    env: PlannedEnv, normalizer: PlannedNormalizer, rollouts: FrozenRollouts, scores: Scores
) -> tuple[Tensor, NDArray[np.int64] | None]:
    """Advantages (N,), and the lengths (N,) where there are none without them.

    Given replies are no tokens, so characters are counted: what is weighted by lengths does not hang on their unit.
    """

    def made(lengths: NDArray[np.int64] | None) -> Tensor:
        return compute_advantages(
            normalizer.choice.make(),  # a fresh one: what it remembers of one environment is not for another
            scores.values,
            rollouts.groups,
            specs=env.specs,
            weights=normalizer.weights(env.specs),
            lengths=lengths,
            applicable=scores.applicable,
            failed=scores.failed,
        )

    try:
        return made(None), None
    except DomainError:
        lengths = np.array([sum(map(len, script_replies(reply))) for reply in rollouts.replies])
        return made(lengths), lengths


def _references(env: PlannedEnv) -> FrozenRollouts:
    """The reference reply to every held-out task that has one."""
    known = [(task, [reply]) for task in env.tasks if (reply := reference_of(env.env, task, env.choice.id)) is not None]
    if not known:
        raise JobError(
            f"{env.choice.id} has no reference replies, so there is nothing for the oracle to say. Define "
            "`reference(task)` in the environment, or score replies of your own with --policy replay:FILE."
        )
    return FrozenRollouts.grouped(known)


def _demonstrated(env: PlannedEnv) -> FrozenRollouts:
    """Several noisy replies to each of some training tasks: a normalizer compares replies to one prompt."""
    found: dict[str, tuple[Task, list[Script]]] = {}
    full, drawn = 0, 0
    for task, script in islice(demonstrations_of(env.env, Random(0), env.description.id), _DRAWN):
        drawn += 1
        _, replies = found.setdefault(task.id, (task, []))
        if len(replies) < _GROUP_SIZE:
            replies.append([*script_replies(script), *[""] * (env.env.max_turns - len(script_replies(script)))])
            full += len(replies) == _GROUP_SIZE
            if full == _GROUPS:
                break
    if not drawn:
        raise JobError(
            f"{env.choice.id} offers no demonstrations to score. Define `demonstrations(rng)` in the environment, or "
            "score its references with --policy oracle."
        )
    groups = sorted((group for group in found.values() if len(group[1]) > 1), key=lambda group: -len(group[1]))
    if not groups:
        raise JobError(
            f"{env.choice.id}: each of {drawn} demonstrations is of another task, and there is nothing to compare in a "
            "group of one reply. Yield several replies to a task, or draw the tasks with rng.choice."
        )
    return FrozenRollouts.grouped(groups[:_GROUPS])


def _replayed(plan: Plan, env: PlannedEnv, console: Console) -> FrozenRollouts:
    assert plan.policy.file is not None
    completions = read_completions(plan.policy.file, env.tasks, env.env.messages, plan.policy.mapping)
    if told := completions.told_unmatched(plan.policy.file, env.choice.id):
        console.print(told, markup=False)
    return FrozenRollouts.of(completions)


def score_rollouts(env: TextEnv[Any], id: str, rollouts: FrozenRollouts, console: Console) -> Scores:
    """Rewards (N, K) of given replies.

    Args:
        env: Scores them.
        id: Its id, for messages.
        rollouts: N whole episodes.
        console: Shows progress.

    Raises:
        JobError: Replies that do not reach an episode's end.
        RewardError: A reward is not what its declaration allows.
    """
    starts: Sequence[int] = range(0, len(rollouts.replies), _CHUNK)
    chunks = []
    for start in track(starts, f"scoring {id}", console=console, transient=True):
        rows = slice(start, start + _CHUNK)
        chunks.append(_play(env, id, rollouts.tasks[rows], rollouts.replies[rows]))
    return reduce(Scores.stack, chunks)


def _play(env: TextEnv[Any], id: str, tasks: Sequence[Task], scripts: Sequence[Script]) -> Scores:
    """Rewards (N, K) of whole episodes."""
    batch = EpisodeBatch(env, id, tasks)
    scores = Scores.empty(len(tasks), len(env.reward_specs))
    remaining = [iter(script_replies(script)) for script in scripts]
    while not (over := batch.terminated | batch.truncated).all():
        replies = ["" if done else next(rest, None) for done, rest in zip(over, remaining, strict=True)]
        if None in replies:
            number = replies.index(None)
            raise JobError(
                f"{id}: the episode of task {tasks[number].id} is not over after the "
                f"{len(script_replies(scripts[number]))} replies that are given; it takes up to {env.max_turns}."
            )
        scores += batch.play([reply for reply in replies if reply is not None])
    return scores
