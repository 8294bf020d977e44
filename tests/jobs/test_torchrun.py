"""The real command on two processes: an entry, each thing said once, and going on after a process was killed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.core import yaml
from gdpo_bench.core.processor import arithmetic_pins
from gdpo_bench.jobs.engines.choice import parse_engine
from gdpo_bench.jobs.engines.torchrun import torchrun_words, under_torchrun
from gdpo_bench.jobs.job import JobError, check
from gdpo_bench.jobs.plan import plan
from gdpo_bench.jobs.training import _check_shares
from gdpo_bench.leaderboard.files.store import read_entry

JOB = {
    "envs": ["gdpo/MathMini-v1"],
    "normalizers": ["gdpo"],
    "seeds": [0],
    "policy": "mini:warm_start_steps=20,warm_start_examples=200,warm_start_batch=4",
    "training": {
        "steps": 16,
        "prompts": 2,
        "group_size": 4,
        "eval_every": 8,
        "eval_prompts": 4,
        "max_new_tokens": 12,
        "max_failed_share": 1,
    },
    "runtime": {"checkpoint_every": 2},
}


@pytest.fixture
def folder(tmp_path: Path, policy_cache: Path) -> Path:
    (tmp_path / "job.yaml").write_text(yaml.dump(JOB))
    return tmp_path


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*torchrun, "-m", "gdpo_bench.run", "job.yaml", *arguments],
        cwd=folder,
        env=os.environ
        | {"CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_each_run_together_and_go_on_after_one_was_killed(folder: Path) -> None:
    whole = start(folder, "--out", "whole")
    output, error = whole.communicate(timeout=200)
    assert whole.returncode == 0, error
    assert output.count("training 1/1: MathMini-v1 gdpo seed 0:0") == 1
    (path,) = folder.glob("whole/*/entries/*.json")
    entry = read_entry(path)
    assert entry.policy.details["processes"] == 2
    assert entry.division == "open"
    assert arithmetic_pins().items() <= entry.provenance.arithmetic.items()
    assert entry.provenance.command == "torchrun --nproc-per-node 2 -m gdpo_bench.run job.yaml --out whole"
    (log,) = folder.glob("whole/*/work/*/metrics.jsonl")
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(17))

    killed = start(folder)
    while not list(folder.glob("runs/*/work/*/checkpoints/step-*")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    processes = sorted(psutil.Process(killed.pid).children(), key=lambda process: process.pid)
    processes[-1].kill()
    killed.communicate(timeout=60)
    assert killed.returncode != 0
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    assert not list(folder.glob("runs/*/entries/*"))

    resumed = start(folder, "--resume")
    output, error = resumed.communicate(timeout=200)
    assert resumed.returncode == 0, error
    (again,) = folder.glob("runs/*/entries/*.json")
    assert read_entry(again).id == entry.id


@pytest.mark.parametrize(
    ("training", "engine", "message"),
    [
        ({"prompts": 3}, "local", r"training\.prompts is 3, which 2 processes cannot share evenly: choose a multiple"),
        ({"eval_prompts": 5}, "local", r"training\.eval_prompts is 5"),
        ({}, "ray", r"torchrun gives one run several: start the job with python -m gdpo_bench\.run"),
    ],
)
def test_what_two_processes_cannot_do_together_is_refused(training: dict[str, int], engine: str, message: str) -> None:
    planned = plan(check(JOB | {"training": training}))
    _check_shares(parse_engine("local"), planned, 1)
    with pytest.raises(JobError, match=message):
        _check_shares(parse_engine(engine), planned, 2)


def test_vllm_is_refused_before_anything_starts() -> None:
    planned = replace(plan(check(JOB | {"training": {}})), vllm=VLLMOptions())
    with pytest.raises(JobError, match="under torchrun, take --rollout transformers"):
        _check_shares(parse_engine("local"), planned, 2)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    planned = plan(check(JOB | {"training": {}, "runtime": {"device": "cuda"}}))
    with pytest.raises(JobError, match="2 processes on this machine, which has 1 GPUs"):
        _check_shares(parse_engine("local"), planned, 2)


def test_only_several_processes_of_torchrun_train_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not under_torchrun()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not under_torchrun()
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert under_torchrun()
    assert torchrun_words() == ["torchrun", "--nnodes", "2", "--nproc-per-node", "4"]
