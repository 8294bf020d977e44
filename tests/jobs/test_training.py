"""Whole training jobs: started, interrupted, killed, resumed, with code of the user's own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policies.embedded import build_policy
from gdpo_bench.agent.step import TrainingStep
from gdpo_bench.cli.main import main
from gdpo_bench.core import yaml
from gdpo_bench.jobs import training
from gdpo_bench.jobs.job import Job, JobError
from gdpo_bench.jobs.plan import plan
from gdpo_bench.jobs.work import Event, Finished, WorkItem
from gdpo_bench.leaderboard.files.store import read_entry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POLICY = "mini:warm_start_steps=20,warm_start_examples=200,warm_start_batch=4"
TINY = {"steps": 2, "prompts": 2, "group_size": 4, "eval_every": 2, "eval_prompts": 4, "max_new_tokens": 12}
JOB = {"envs": ["gdpo/MathMini-v1"], "normalizers": ["grpo", "gdpo"], "seeds": [0, 1, 2], "policy": POLICY}
RUNS = 6

PLUG_IN = '''
"""An environment and normalizers of a user, some broken where they are not tried before a job starts."""

from multiprocessing import parent_process

import torch

from gdpo_bench import Task, TextEnv, register, reward


@register("me/Parrot-v0")
class Parrot(TextEnv[Task]):
    def __init__(self, words=10):
        self.words = words

    def tasks(self, split):
        return [Task(f"Say {split} {n}.") for n in range(self.words)]

    def demonstrations(self, rng):
        while True:
            yield rng.choice(self.tasks("train")), rng.choice(["yes", "no", "[/red]"])

    @reward(low=0, high=1)
    def brief(self, task, reply):
        if self.words == 3 and parent_process():
            raise KeyError("[/red] \\ud800")
        return 1 / (1 + len(reply))

    @reward(low=-1, high=0, kind="penalty")
    def vowels(self, task, reply):
        return -min(1, sum(map(reply.count, "aeiou")) / 10)


def first_reward(batch):
    return batch.rewards[:, 0] - batch.rewards[:, 0].mean()


def wrong_shape(batch):
    return batch.rewards if parent_process() else first_reward(batch)


def raises(batch):
    return batch.no_such_thing if parent_process() else first_reward(batch)
'''


class InThisProcess:
    """Stands in for the engine where no process has to die: importing torch anew takes seconds."""

    def __init__(self, workers: int, pins: Mapping[str, str]) -> None:
        torch.set_num_threads(1)

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[Event]:
        for number, task in enumerate(tasks):
            yield Finished(number, task(lambda share, text: None))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy_cache: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "LocalEngine", InThisProcess)
    return tmp_path


def write_job(folder: Path, **changed: Any) -> str:
    (folder / "job.yaml").write_text(yaml.dump(JOB | {"training": TINY} | changed))
    return "job.yaml"


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """The installed command, in a process group of its own and on one core."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("gdpo-bench"), "run", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]),  # noqa: PLW1509 (one thread)
    )


def finish(*arguments: str, **environment: str) -> str:
    """What the command prints; its workers compute with pinned kernels, as this process need not."""
    process = start(*arguments, **environment)
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return output


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.03)


def results(out: Path) -> set[Path]:
    return set(out.glob("*/results/*.json"))


def ids(out: Path) -> list[str]:
    """The ids of all entries, each checked against its content."""
    return sorted(read_entry(path).id for path in out.glob("*/entries/*.json"))


def test_job_that_was_interrupted_and_killed_resumes_to_the_numbers_of_one_that_was_not(folder: Path) -> None:
    (folder / "my_mod.py").write_text(PLUG_IN)
    job, out = write_job(folder, envs=["my_mod:me/Parrot-v0:words=5"]), folder / "runs"
    other = {"GDPO_BENCH_CACHE": str(folder / "cache"), "PYTHONHASHSEED": "7"}  # trains its own warm start

    interrupted = start(job, **other)
    wait_for(lambda: len(results(out)) >= 1, interrupted)
    began = time.monotonic()
    os.killpg(interrupted.pid, signal.SIGINT)
    _, error = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert error.endswith("The same command with --resume goes on.\nInterrupted.\n")
    assert time.monotonic() - began < 10
    done = results(out)
    assert 1 <= len(done) < RUNS

    killed = start(job, "--resume", **other)
    wait_for(lambda: len(results(out)) > len(done), killed)
    workers = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    output, error = killed.communicate(timeout=60)
    assert f"{len(done)} of {RUNS} runs are finished already." in output
    assert error == ""
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    kept = {path: path.read_bytes() for path in results(out)}
    assert len(done) < len(kept) < RUNS
    assert ids(out) == []

    finish(job, "--resume", **other)
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list(out.iterdir())) == 1

    printed = finish(job, "--out", "whole")
    assert ids(out) == ids(folder / "whole")
    assert len(ids(out)) == 2
    for name in ("table.txt", "curves.png", "job.yaml"):
        assert (next(out.iterdir()) / name).read_bytes() == (next((folder / "whole").iterdir()) / name).read_bytes()
    assert "File them: python -m gdpo_bench.leaderboard submit whole/job-" in printed


def test_run_killed_between_steps_goes_on_from_its_checkpoint_to_the_same_numbers(folder: Path) -> None:
    long = TINY | {"steps": 12, "eval_every": 4}
    job = write_job(folder, training=long, normalizers=["gdpo"], seeds=[0], runtime={"checkpoint_every": 1})
    out = folder / "runs"
    killed = start(job)
    wait_for(lambda: any(out.glob("*/work/*/checkpoints/step-0000000[4-9]")), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert results(out) == set()
    reached = max(int(path.name.removeprefix("step-")) for path in out.glob("*/work/*/checkpoints/step-*"))

    finish(job, "--resume")
    finish(job, "--out", "whole")
    assert ids(out) == ids(folder / "whole")
    assert len(ids(out)) == 1
    (work,) = out.glob("*/work/*")
    assert not (work / "checkpoints").exists()
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    (whole,) = (folder / "whole").glob("*/work/*")
    others = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(13))
    assert [line.get("loss") for line in lines] == [line.get("loss") for line in others]
    # What was done before the kill was not done again: its seconds are those of the killed process.
    assert reached >= 4


def test_a_run_that_diverges_leaves_a_description_of_its_batch(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingStep, "backward", lambda *arguments: {"loss": float("nan")})
    assert main(["run", write_job(folder, normalizers=["gdpo"], seeds=[0])]) == 2
    (path,) = (folder / "runs").glob("*/work/*/diverged.json")
    error = capsys.readouterr().err
    assert error.startswith("Error: The loss became nan at step 0; try a smaller learning_rate. Its batch is in ")
    assert error.endswith(f"{path}.\n")
    rows = json.loads(path.read_text())
    assert len(rows) == 4
    assert set(rows[0]) == {"text", "rewards", "group", "advantage", "log_probs"}


def test_job_on_a_hugging_face_folder_trains_it_and_measures_suites(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = build_policy(EmbeddedConfig(hidden_size=16, intermediate_size=32), ["1+2=3"], seed=0)
    policy.model.save_pretrained("model")
    policy.tokenizer.save_pretrained("model")
    job = write_job(
        folder,
        policy=f"hf:{folder}/model:lora_rank=2",
        normalizers=["gdpo"],
        seeds=[0, 1],
        suites=["gdpo/MathMini-v1:limit=30"],
    )
    assert main(["run", job]) == 0
    (entry,) = map(read_entry, (folder / "runs").glob("*/entries/*.json"))
    assert entry.policy.name == f"hf:{folder}/model"
    assert entry.policy.details["config"]["lora_rank"] == 2
    assert entry.policy.details["trainable"] < entry.policy.details["parameters"]
    assert [result.seed and result.seed.warm_start for result in entry.results] == [None, None]
    records = [json.loads(path.read_text()) for path in results(folder / "runs")]
    assert all(set(record["suites"]) == {"gdpo/MathMini-v1:limit=30"} for record in records)
    assert "gdpo/MathMini-v1:limit=30" in capsys.readouterr().out

    with pytest.raises(JobError, match="begins as it is given, so seeds are numbers"):
        plan(Job.load(write_job(folder, policy=f"hf:{folder}/model", seeds=["1:0"])))


def test_code_of_the_user_in_the_current_folder_takes_part_and_what_is_broken_fails_alone(folder: Path) -> None:
    (folder / "my_mod.py").write_text(PLUG_IN)
    job = write_job(
        folder,
        envs=["my_mod:me/Parrot-v0:words=5", "my_mod:me/Parrot-v0:words=3"],
        normalizers=["my_mod:first_reward", "my_mod:wrong_shape", "my_mod:raises", "gdpo"],
        seeds=[0],
    )
    process = start(job)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 1, error
    found = {entry.normalizer.name: entry for entry in map(read_entry, (folder / "runs").glob("*/entries/*.json"))}
    assert set(found) == {"my_mod:first_reward", "gdpo"}
    entry = found["my_mod:first_reward"]
    assert entry.environment.id == "me/Parrot-v0"
    assert entry.environment.options == {"words": 5}
    assert entry.normalizer.options["implementation"] == "my_mod:first_reward"
    assert entry.provenance.command == "python -m gdpo_bench.run job.yaml"
    refused = "Parrot-v0:words=5 my_mod:wrong_shape seed 0:0: The normalizer wrong_shape must return a tensor"
    assert refused in output
    assert "AttributeError: 'RewardBatch' object has no attribute 'no_such_thing'" in output
    assert "Reward functions failed on 100%" in output
    assert "me/Parrot-v0: reward 'brief' failed on task" in output
    assert "6 runs failed; the others are in runs/job-" in error


def test_a_job_that_tunes_files_all_trials_in_blocks_under_one_plan(folder: Path) -> None:
    (folder / "my_mod.py").write_text(PLUG_IN)
    tuning = {"learning_rates": [3e-4, 1e-3], "seeds": ["10:10"], "target": "brief"}
    job = write_job(
        folder,
        envs=["my_mod:me/Parrot-v0:words=5"],
        seeds=["0:0", "1:1"],
        training=TINY | {"steps": 4, "eval_samples": 2},
        tuning=tuning,
        horizons=[2, 4],
    )
    half = finish(job, "--block", "5")
    assert "for filing when the job is done: 7 runs are left, see --resume" in half
    assert "File them" not in half
    assert len(results(folder / "runs")) == 5
    assert (folder / "runs").joinpath(next((folder / "runs").iterdir()).name, "plan.json").is_file()
    output = finish(job, "--resume")
    assert len(results(folder / "runs")) == 12
    entries = [read_entry(path) for path in (folder / "runs").glob("*/entries/*.json")]
    assert (
        sorted((one.plan.role, len(one.results)) for one in entries if one.plan)
        == [("test", 2)] * 4 + [("tuning", 1)] * 4
    )
    (plan_file,) = (folder / "runs").glob("*/plan.json")
    assert {one.plan.declared == json.loads(plan_file.read_text()) for one in entries if one.plan} == {True}
    assert {(one.training or {})["learning_rate"] for one in entries} == {3e-4, 1e-3}
    assert "File them" in output
    assert "tuned on brief" in output
    assert "which chose" in output
    assert list((folder / "runs").glob("*/tuning.png"))


def test_a_plan_may_test_only_what_tuning_chose(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuning = {"learning_rates": [3e-4, 1e-3], "seeds": ["10:10"], "target": "length", "tested": "chosen"}
    job = write_job(folder, seeds=["0:0", "1:1"], training=TINY | {"steps": 2}, tuning=tuning)
    assert main(["run", job, "--block", "3"]) == 0
    assert len(results(folder / "runs")) == 3
    assert "Tuning chose gdpo" not in capsys.readouterr().out  # one of its trials is missing
    assert main(["run", job, "--resume"]) == 0
    output = capsys.readouterr().out
    entries = [read_entry(path) for path in (folder / "runs").glob("*/entries/*.json")]
    tested = {one.normalizer.name: one.training["learning_rate"] for one in entries if one.plan.role == "test"}
    assert sorted(one.plan.role for one in entries) == ["test"] * 2 + ["tuning"] * 4
    for name in ("grpo", "gdpo"):
        tried = {
            one.training["learning_rate"]: one.results[0].rewards["length"].final
            for one in entries
            if one.normalizer.name == name and one.plan.role == "tuning"
        }
        assert tested[name] == max(sorted(tried), key=lambda rate: tried[rate])
        assert f"Tuning chose {name}:learning_rate={tested[name]}" in output
    assert "tuned on length" in output
    assert "They are not for filing: gdpo/MathMini-v1: correct, format, integer never varied, whatever" in output
    assert not list((folder / "runs").glob("*/tuning.png"))
