"""Whether an entry's numbers follow from its sidecar."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gdpo_bench.core.measurements import Evaluation, RewardVectors, curves, evaluate, label_agreement
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard.files.entries import EntryError
from gdpo_bench.leaderboard.files.schema import Entry, Environment, SeedResult
from gdpo_bench.leaderboard.files.sidecar import Sidecar

TOLERANCE = 1e-9
"""Means of the same numbers may differ by this between machines, absolutely and as a share."""
_SHOWN = 5
"""So many problems are told of one entry."""


def reward_specs(environment: Environment) -> tuple[RewardSpec, ...]:
    """An entry's rewards as estimators and evaluations take them."""
    return tuple(one.spec for one in environment.rewards)


def check_follows(entry: Entry, sidecar: Sidecar) -> None:
    """Compute an entry's statistics again from its reward vectors.

    Args:
        entry: The entry.
        sidecar: What it is bound to.

    Raises:
        EntryError: They are of different runs, or a number does not follow; the message names the first few.
    """
    problems = list(_problems(entry, sidecar))
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise EntryError(f"Entry {entry.id} does not follow from its sidecar: " + "; ".join(problems[:_SHOWN] + more))


def _problems(entry: Entry, sidecar: Sidecar) -> Iterator[str]:
    specs = reward_specs(entry.environment)
    if sidecar.rewards != [spec.name for spec in specs]:
        yield f"its rewards are {', '.join(sidecar.rewards)}"
        return
    if [run.seed for run in sidecar.runs] != [result.seed for result in entry.results]:
        yield "it holds other seeds"
        return
    for number, (result, run) in enumerate(zip(entry.results, sidecar.runs, strict=True)):
        where = f"results[{number}]"
        if [one.step for one in run.evaluations] != result.steps:
            yield f"{where}.steps: it holds {[one.step for one in run.evaluations]}"
            continue
        for one in run.evaluations:
            yield from _bad_vectors(one, specs, entry.environment, f"{where}, step {one.step}")
        found = [evaluate(one.scores, specs, one.step) for one in run.evaluations]
        yield from _other_means(result, found, specs, where)
        if entry.track == "advantage":
            yield from _other_diagnostics(result, run.evaluations, specs, where)


def _bad_vectors(
    one: RewardVectors, specs: Sequence[RewardSpec], environment: Environment, where: str
) -> Iterator[str]:
    scores = one.scores
    if scores.raw.shape[1] != len(specs):
        yield f"{where}: {scores.raw.shape[1]} rewards instead of {len(specs)}"
        return
    tasks = np.unique(one.task_ids).tolist()
    if len(tasks) > environment.num_tasks or (
        len(tasks) == environment.num_tasks and content_hash(tasks) != environment.task_ids_hash
    ):
        yield f"{where}: its tasks are not those of the environment"
    for k, spec in enumerate(specs):
        scored = scores.applicable[:, k] & ~scores.failed[:, k]
        raw, values = scores.raw[:, k], scores.values[:, k]
        if (raw[scored] < spec.low - TOLERANCE).any() or (raw[scored] > spec.high + TOLERANCE).any():
            yield f"{where}: {spec.name} leaves the declared range [{spec.low:g}, {spec.high:g}]"
        if spec.gate is None and not np.array_equal(raw[scored], values[scored]):
            yield f"{where}: {spec.name} has no gate, but values that differ from the raw ones"


def _other_means(
    result: SeedResult, found: Sequence[Evaluation], specs: Sequence[RewardSpec], where: str
) -> Iterator[str]:
    rewards, metrics = curves(found, specs)
    for name, curve in result.rewards.items():
        yield from _differences(f"{where}.rewards.{name}", curve.curve, rewards[name])
    if set(result.metrics) != set(metrics):
        yield f"{where}.metrics: it gives {', '.join(metrics) or 'none'}"
    else:
        for metric, curve in result.metrics.items():
            yield from _differences(f"{where}.metrics.{metric}", curve.curve, metrics[metric])
    applicable = {name: share for name, share in found[-1].applicable.items() if share < 1}
    yield from _other_fields(f"{where}.applicable_share", result.applicable_share, applicable)


def _other_diagnostics(
    result: SeedResult, vectors: Sequence[RewardVectors], specs: Sequence[RewardSpec], where: str
) -> Iterator[str]:
    from gdpo_bench.advantages.diagnostics import diagnose  # noqa: PLC0415 (imports torch; only this track needs it)

    last = vectors[-1]
    if last.advantages is None:
        yield f"{where}: it holds no advantages"
        return
    scores = last.scores
    found = diagnose(last.advantages, scores.values, last.groups, scores.applicable, scores.failed).as_dict()
    again = found | label_agreement(scores, specs, last.labels)
    yield from _other_fields(f"{where}.diagnostics", result.diagnostics, again)


def _other_fields(where: str, told: Mapping[str, float], found: Mapping[str, float]) -> Iterator[str]:
    if told.keys() != found.keys():
        yield f"{where}: it gives {', '.join(found) or 'none'}"
        return
    for name in told:
        yield from _differences(f"{where}.{name}", [told[name]], [found[name]])


def _differences(where: str, told: Sequence[float], found: Sequence[float]) -> Iterator[str]:
    for i, (one, other) in enumerate(zip(told, found, strict=True)):
        if not math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            point = f"[{i}]" if len(told) > 1 else ""
            yield f"{where}{point} is {one:.12g}, its reward vectors give {other:.12g}"
            return
