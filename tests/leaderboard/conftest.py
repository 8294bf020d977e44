"""Entries to test with: `entry(...)` composes one from a few numbers, `measured(...)` one from reward vectors."""

from dataclasses import replace

import numpy as np
import pytest

from gdpo_bench import Gate, RewardSpec
from gdpo_bench.advantages import compute_advantages, diagnose, make_normalizer, normalizer_options
from gdpo_bench.core.measurements import RewardVectors, evaluate, label_agreement
from gdpo_bench.core.scoring import Scores
from gdpo_bench.leaderboard import (
    Cost,
    Curve,
    Environment,
    Hardware,
    NormalizerConfig,
    PolicyConfig,
    Provenance,
    Seed,
    SeedResult,
    make_entry,
)
from gdpo_bench.leaderboard.files.schema import PlanReference
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun
from gdpo_bench.leaderboard.files.store import Measured

SPECS = [
    RewardSpec("format", 0, 1, "binary", metric="format_rate"),
    RewardSpec("correct", -3, 3, gate=Gate("format", 1), metric="accuracy"),
]


def provenance(**changes):
    hardware = Hardware(cpu="Test CPU", cores=2, memory_gb=8.0, gpu=None, platform="test")
    fields = {
        "author": "somebody",
        "date": "2026-01-02T03:04:05Z",
        "command": "python -m gdpo_bench.run",
        "git_sha": None,
        "git_dirty": None,
        "versions": {"python": "3.11.7", "gdpo_bench": "0.1.0"},
        "hardware": hardware,
        "cost": Cost(wall_s=12.5, tokens=1000),
        "status": "self-reported",
    }
    return Provenance.model_validate(fields | changes)


def trained(
    name="gdpo",
    finals=(0.9, 0.8),
    *,
    environment="gdpo/TestMini-v0",
    specs=SPECS,
    seeds=None,
    options=None,
    weights=None,
    steps=(0, 10, 20),
    policy=None,
    grader_revision=1,
    **fields,
):
    """An entry of the training track: reward k rises to `finals[i]` of its range under seed i."""
    seeds = seeds or [Seed(warm_start=0, rl=i) for i in range(len(finals))]
    results = []
    for seed, final in zip(seeds, finals, strict=True):
        curves = {
            spec.name: Curve.of(spec.low + (spec.high - spec.low) * final * np.linspace(0.2, 1, len(steps)))
            for spec in specs
        }
        metrics = {
            spec.metric: Curve.of([final * x for x in np.linspace(0.2, 1, len(steps))]) for spec in specs if spec.metric
        }
        results.append(
            SeedResult(
                seed=seed, steps=list(steps), rewards=curves, metrics=metrics, diagnostics={"distinct_levels": 5.0}
            )
        )
    return make_entry(
        track="training",
        environment=Environment.describe(
            environment,
            options={"rare": True},
            specs=specs,
            split="eval",
            task_ids=["a", "b", "c"],
            grader_revision=grader_revision,
        ),
        normalizer=NormalizerConfig(
            name=name,
            options={"eps": 1e-6} if options is None else options,
            weights=weights or {spec.name: spec.weight for spec in specs},
        ),
        policy=policy or PolicyConfig(name="mini", details={"layers": 2}),
        training={"steps": steps[-1]},
        results=results,
        **{"provenance": provenance(), **fields},
    )


def replayed(name="gdpo", levels=14, *, policy="replay:175B", specs=SPECS, finals=(1.0, 0.5), diagnostics=None):
    """An entry of the advantage track."""
    result = SeedResult(
        seed=None,
        steps=[0],
        rewards={spec.name: Curve.of([final]) for spec, final in zip(specs, finals, strict=True)},
        metrics={},
        diagnostics={"distinct_levels": float(levels), "zero_signal_share": 0.25} | (diagnostics or {}),
    )
    return make_entry(
        track="advantage",
        environment=Environment.describe(
            "gdpo/TestReal-v0", options={}, specs=specs, split="test", task_ids=["a"], data_revision="abc"
        ),
        normalizer=NormalizerConfig(name=name, options={}, weights={spec.name: 1.0 for spec in specs}),
        policy=PolicyConfig(name=policy, details={}),
        training=None,
        results=[result],
        provenance=provenance(),
    )


def drawn(rng, step, *, tasks=("a", "b", "c"), group_size=4, **fields):
    """Reward vectors of `SPECS`, the better the later the step; some do not apply, and a scorer failed once."""
    groups = np.repeat(np.arange(len(tasks)), group_size)
    n = len(groups)
    format_, correct = (rng.random(n) < 0.3 + step / 50).astype(float), rng.integers(-3, 4, n) / 1.0
    raw = np.stack([format_, correct + rng.random(n) * (correct < 3) * 0.1], axis=1)
    applicable, failed = np.ones_like(raw, bool), np.zeros_like(raw, bool)
    applicable[0, 1] = False
    failed[1, 1] = step > 0
    raw[~applicable | failed] = 0
    values = raw.copy()
    values[raw[:, 0] < 1, 1] = 0
    scores = Scores(values, raw, applicable, failed)
    return RewardVectors(step, scores, np.array(tasks)[groups], groups, **fields)


def measure(name="gdpo", runs=2, *, steps=(0, 10, 20), specs=SPECS, luck=0, **fields):
    """An entry of the training track with its sidecar."""
    results, kept = [], []
    for i in range(runs):
        rng = np.random.default_rng([i, luck])
        seed, vectors = Seed(warm_start=i, rl=i), []
        for step in steps:
            one = drawn(rng, step)
            vectors.append(replace(one, lengths=rng.integers(1, 49, len(one.groups))))
        found = [evaluate(one.scores, specs, one.step) for one in vectors]
        results.append(
            SeedResult(
                seed=seed,
                steps=list(steps),
                rewards={spec.name: Curve.of([one.rewards[spec.name] for one in found]) for spec in specs},
                metrics={spec.metric: Curve.of([one.metrics[spec.metric] for one in found]) for spec in specs},
                diagnostics={},
                applicable_share={name: share for name, share in found[-1].applicable.items() if share < 1},
            )
        )
        kept.append(SidecarRun(seed, vectors))
    sidecar = Sidecar.of([spec.name for spec in specs], kept)
    entry = make_entry(
        track="training",
        environment=Environment.describe(
            "gdpo/TestMini-v0", options={}, specs=specs, split="eval", task_ids=["a", "b", "c"]
        ),
        normalizer=NormalizerConfig(name=name, options={}, weights={spec.name: 1.0 for spec in specs}),
        policy=PolicyConfig(name="mini", details={"layers": 2}),
        training={"steps": steps[-1]},
        results=results,
        sidecar=sidecar.sha256,
        **{"provenance": provenance(), **fields},
    )
    return Measured(entry, sidecar)


def measure_advantages(name="gdpo", *, labels=True, **fields):
    """An entry of the advantage track with its sidecar, by one of our normalizers."""
    one = drawn(np.random.default_rng(1), 20, tasks=[f"t{i}" for i in range(20)])
    scores, normalizer = one.scores, make_normalizer(name)
    weights = {"format": 1.0, "correct": 2.0}
    masks = {"applicable": scores.applicable, "failed": scores.failed}
    advantages = compute_advantages(normalizer, scores.values, one.groups, specs=SPECS, weights=weights, **masks)
    one = replace(one, advantages=advantages.numpy(), labels=[True, None] * 40 if labels else [])
    found = evaluate(scores, SPECS)
    agreement = label_agreement(scores, SPECS, one.labels)
    sidecar = Sidecar.of([spec.name for spec in SPECS], [SidecarRun(None, [one])])
    result = SeedResult(
        seed=None,
        steps=[20],
        rewards={name: Curve.of([value]) for name, value in found.rewards.items()},
        metrics={name: Curve.of([value]) for name, value in found.metrics.items()},
        diagnostics=diagnose(one.advantages, scores.values, one.groups, **masks).as_dict() | agreement,
        applicable_share={name: share for name, share in found.applicable.items() if share < 1},
    )
    entry = make_entry(
        track="advantage",
        environment=Environment.describe(
            "gdpo/TestReal-v0", options={}, specs=SPECS, split="test", task_ids=[f"t{i}" for i in range(20)]
        ),
        normalizer=NormalizerConfig(name=name, options=normalizer_options(normalizer), weights=weights),
        policy=PolicyConfig(name="replay", details={}),
        training=None,
        results=[result],
        sidecar=sidecar.sha256,
        **{"provenance": provenance(), **fields},
    )
    return Measured(entry, sidecar)


RIGHT_IN_TWO = [RewardSpec("format", 0, 1, "binary"), RewardSpec("correctness", -3, 3)]


def tuned(name, rate, finals, role, *, declared, steps):
    """An entry of a plan like that of the job `answers`, whose share of right replies grows evenly to `finals[i]`."""
    first = 10 * (role == "tuning")
    seeds = [Seed(warm_start=first + i, rl=first + i) for i in range(len(finals))]
    found = trained(name, finals, specs=RIGHT_IN_TWO, seeds=seeds, steps=steps)
    made = make_entry(
        **{part: getattr(found, part) for part in ("track", "normalizer", "policy", "provenance", "results")},
        environment=Environment.describe(
            "gdpo/ToolCallingMini-v1",
            options={"format_rate": 0.04},
            specs=RIGHT_IN_TWO,
            split="eval",
            task_ids=["a", "b", "c"],
        ),
        training=found.training | {"learning_rate": rate},
        plan=PlanReference.of(declared, role),
    )
    results = [
        result.model_copy(update={"all_right": Curve.of(final * np.linspace(0, 1, len(steps)))})
        for result, final in zip(found.results, finals, strict=True)
    ]
    return made.model_copy(update={"results": results})


@pytest.fixture(scope="session")
def tuned_entry():
    return tuned


@pytest.fixture(scope="session")
def measured():
    return measure


@pytest.fixture(scope="session")
def measured_advantages():
    return measure_advantages


@pytest.fixture(scope="session")
def entry():
    return trained


@pytest.fixture(scope="session")
def replay():
    return replayed


@pytest.fixture(scope="session")
def make_provenance():
    return provenance
