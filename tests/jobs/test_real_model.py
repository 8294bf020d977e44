"""A real model from a package to an entry: SmolLM2 with its own tokenizer and template, warm-started, one step."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gdpo_bench.agent.policies.packaged import PACKAGED
from gdpo_bench.cli.run import main
from gdpo_bench.core import Task, TextEnv, register, reward
from gdpo_bench.core import registry as registered
from gdpo_bench.jobs.from_entry import job_of
from gdpo_bench.jobs.job import JobError, check
from gdpo_bench.jobs.plan import plan
from gdpo_bench.leaderboard.files.store import read_entry

ENV = "gdpo/ToolCallingMini-v1"
TINY = ["steps=1", "prompts=2", "group_size=2", "max_new_tokens=8", "eval_prompts=2", "eval_group_size=1"]


@pytest.mark.slow
def test_smollm2_takes_a_step_after_a_warm_start_of_its_own_and_the_entry_pins_it(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = "smollm2:warm_start_steps=1,warm_start_batch=2"
    words = ["--envs", ENV, "--normalizers", "gdpo", "--seeds", "3:0", "--policy", policy, "--training", *TINY]
    assert main(words) == 0
    (path,) = tmp_path.glob("runs/*/entries/*.json")
    entry = read_entry(path)
    details = entry.policy.details
    assert entry.policy.name == "smollm2"
    assert details["gguf"] == PACKAGED["smollm2"].sha256
    assert details["parameters"] == 134_515_008
    assert details["end_tokens"] == ["<|im_end|>"]
    assert details["dtype"] in ("float32", "mixed")
    assert details["warm_start_envs"] == [{"id": ENV, "options": {}}]
    assert list(details["warm_start_corpus"]) == ["3"]
    assert [result.seed.warm_start for result in entry.results if result.seed] == [3]
    again = job_of(entry)
    assert plan(again).policy == plan(check({"envs": [ENV], "policy": policy})).policy
    log = next(tmp_path.glob("runs/**/metrics.jsonl")).read_text().splitlines()
    assert json.loads(log[0])["grad_norm"] >= 0


@pytest.fixture
def silent() -> Iterator[str]:
    class Silent(TextEnv[Task]):
        def tasks(self, split: str) -> Sequence[Task]:
            return [Task(f"Say {split}.")]

        @reward(low=0, high=1)
        def said(self, task: Task, reply: str) -> float:
            return float(bool(reply))

    before = dict(registered._registry)
    register("test/Silent-v0", Silent)
    yield "test/Silent-v0"
    registered._registry.clear()
    registered._registry.update(before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"policy": "smollm2", "seeds": ["1:0"]}, r"begins as it is given.*smollm2:warm_start_steps=120"),
        ({"policy": "smollm2:warm_start_steps=5", "envs": ["test/Silent-v0"]}, r"Silent-v0 offers no demonstrations"),
    ],
)
def test_a_warm_start_that_cannot_be_is_refused_before_anything_runs(
    smollm2: Path, silent: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        plan(check({"envs": [ENV]} | changed))
