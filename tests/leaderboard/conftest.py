"""Entries to test with: `entry(...)` composes one from a few numbers."""

import numpy as np
import pytest

from gdpo_bench import Gate, RewardSpec
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
            environment, options={"rare": True}, specs=specs, split="eval", task_ids=["a", "b", "c"]
        ),
        normalizer=NormalizerConfig(
            name=name,
            options={"eps": 1e-6} if options is None else options,
            weights=weights or {spec.name: spec.weight for spec in specs},
        ),
        policy=PolicyConfig(name="mini", details={"layers": 2}),
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


@pytest.fixture(scope="session")
def entry():
    return trained


@pytest.fixture(scope="session")
def replay():
    return replayed


@pytest.fixture(scope="session")
def make_provenance():
    return provenance
