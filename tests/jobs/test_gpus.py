"""How many runs share a GPU."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from gdpo_bench.agent.options import EMBEDDED_CONFIGS, TrainingOptions
from gdpo_bench.agent.policies.embedded import build_policy, sizes
from gdpo_bench.jobs import gpus, training
from gdpo_bench.jobs import plan as planning
from gdpo_bench.jobs.engines.choice import EngineChoice
from gdpo_bench.jobs.entries import RunEntries
from gdpo_bench.jobs.folder import RunFolder
from gdpo_bench.jobs.job import Job, RuntimeOptions

SMALL = EMBEDDED_CONFIGS["small"]
OPTIONS = TrainingOptions(micro_batch=8, max_new_tokens=100, max_prompt_tokens=400)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of 24 GB on a machine of 16 cores."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=24 * 10**9))
    monkeypatch.setattr(gpus, "usable_cores", lambda: 16)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def plan(**runtime: Any) -> planning.Plan:
    job = {"envs": ["gdpo/MathMini-v1"], "policy": "small", "seeds": list(range(10))}
    return planning.plan(Job.model_validate(job | {"runtime": {"device": "cuda"} | runtime}))


def test_a_run_takes_its_weights_five_times_its_logits_four_times_and_a_process() -> None:
    weights, vocabulary = sizes(SMALL)
    assert gpus.run_bytes(SMALL, [OPTIONS]) == 18 * weights + 16 * 8 * 500 * vocabulary + 2**30


def test_sizes_are_those_of_the_policy_that_is_made() -> None:
    config = replace(SMALL, vocabulary=300)
    policy = build_policy(config, ["some words, of which the tokenizer learns more tokens than it may have"], seed=0)
    made = sum(weights.numel() for weights in policy.model.parameters())
    assert sizes(config) == (made, len(policy.tokenizer))


@pytest.mark.parametrize(("memory", "runs"), [(80, 7), (24, 2), (11, 1), (4, 1)])
def test_as_many_as_fit_into_nine_tenths_of_the_memory(memory: int, runs: int) -> None:
    assert gpus.fitting(memory * 10**9, 10 * 10**9) == runs


def test_runs_share_gpus_by_memory_cores_and_what_there_is_to_run(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "run_bytes", lambda *_: 4 * 10**9)
    assert gpus.runs_per_gpu(plan()) == 5
    monkeypatch.setattr(gpus, "usable_cores", lambda: 6)
    assert gpus.runs_per_gpu(plan()) == 3
    assert gpus.runs_per_gpu(plan(runs_per_gpu=4)) == 4
    assert gpus.runs_per_gpu(plan(runs_per_gpu=400)) == 20


def test_the_local_engine_gets_a_worker_for_each_and_hours_are_shared(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(training, "LocalEngine", lambda *given: started.append(given))
    training._start(EngineChoice(), plan(runs_per_gpu=3))
    assert started == [(6, ["0", "1"])]
    shared = RunEntries(plan(runs_per_gpu=4), RunFolder(Path("runs")), [], "")
    assert shared._gpus_of_a_run == 0.25


def test_none_at_all_is_refused() -> None:
    with pytest.raises(ValidationError, match="runs_per_gpu"):
        RuntimeOptions(runs_per_gpu=0)


def test_a_share_of_a_gpu_that_is_not_used_is_told() -> None:
    """A job that trains on the CPU would ignore it."""
    assert "runs_per_gpu=2 changes nothing" in plan(device="cpu", runs_per_gpu=2).warnings[0]
    assert plan(device="cpu").warnings == ()
