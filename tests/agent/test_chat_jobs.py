"""Jobs on instruction-tuned models, whose chat templates end, begin and carry on turns in their own ways."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM

import gdpo_bench
from gdpo_bench.agent.policy import ChatTemplateError, Policy
from gdpo_bench.core import DialogEnv, Message, Task, UnknownNameError, registry, reward
from gdpo_bench.jobs.job import check
from gdpo_bench.jobs.plan import Plan, plan
from gdpo_bench.leaderboard.files.store import read_entry, read_measured

from .chat_templates import ALTERNATES, MOVES, SHUTS, THINKS, Sample, make_tokenizer

SUMS = "gdpo/MathMini-v1:limit=20"


def save(folder: Path, sample: Sample) -> Policy:
    """Two layers and a tokenizer with a template, in a folder."""
    tokenizer = make_tokenizer(sample.template, sample.eos)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Policy(model, tokenizer)


def teach(policy: Policy, env_id: str, reply: str, steps: int = 150) -> None:
    """Train a policy to give one reply to any prompt, and to end it as its template does."""
    env = gdpo_bench.make_env(env_id)
    said = [*policy.chat.tokens(reply), policy.end_token]
    prompts = [policy.encode(env.messages(task)) for task in [*env.tasks("train"), *env.tasks("eval")]]
    Random(0).shuffle(prompts)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-2)
    for step in range(steps):
        prompt = prompts[step % len(prompts)]
        logits = policy.model(input_ids=torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1]
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.tensor(said)).backward()
        optimizer.step()


def job(folder: Path, *envs: str, options: str = "") -> dict[str, Any]:
    return {"envs": list(envs), "policy": f"hf:{folder}{options}", "normalizers": ["gdpo"], "seeds": [0]}


def planned(folder: Path, *envs: str, options: str = "") -> Plan:
    return plan(check(job(folder, *envs, options=options)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_replies_of_a_job_end_at_the_token_that_the_template_writes(tmp_path: Path) -> None:
    reply = "<think>1</think><answer>1</answer>"
    policy = save(tmp_path / "model", SHUTS)
    teach(policy, SUMS.partition(":")[0], reply)
    policy.model.save_pretrained(tmp_path / "model")
    training = ["steps=1", "prompts=2", "group_size=2", "eval_prompts=8", "eval_group_size=1", "eval_temperature=0"]
    command = ["--policy", f"hf:{tmp_path}/model", "--envs", SUMS, "--normalizers", "gdpo", "--seeds", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "gdpo_bench.run", *command, "--training", *training, "max_new_tokens=80"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "runs").glob("*/entries/*.json")
    entry = read_entry(path)
    assert entry.policy.details["end_tokens"] == ["<|end|>", "<|endoftext|>"]
    assert entry.policy.details["system_message"] == "own turn"
    (result,) = entry.results
    assert result.rewards["format"].curve[0] == 1  # invented further turns would be judged, too
    (run,) = read_measured(path, entry).sidecar.runs
    lengths = run.evaluations[0].lengths
    assert lengths is not None
    assert set(lengths.tolist()) == {len(policy.chat.tokens(reply)) + 1}


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (SHUTS, r"leaves out, or moves, what a message of the role tool says, and gdpo/ToolDialog-v0 holds"),
        (ALTERNATES, r"of the roles user, assistant, tool: Roles must alternate. gdpo/ToolDialog-v0 holds"),
    ],
)
def test_a_job_is_refused_before_it_starts_where_a_template_cannot_take_an_answers_role(
    tmp_path: Path, sample: Sample, message: str
) -> None:
    save(tmp_path, sample)
    planned(tmp_path, SUMS)
    with pytest.raises(ChatTemplateError, match=message + ".*Choose another policy or environment"):
        planned(tmp_path, "gdpo/ToolDialog-v0")
    suites = job(tmp_path, SUMS) | {"suites": ["gdpo/ToolDialog-v0"]}
    with pytest.raises(ChatTemplateError, match=message):
        plan(check(suites))


def test_a_template_that_takes_all_roles_is_accepted(tmp_path: Path) -> None:
    save(tmp_path, THINKS)
    planned(tmp_path, SUMS, "gdpo/ToolDialog-v0")


def test_options_of_a_template_are_the_policys(tmp_path: Path) -> None:
    save(tmp_path, THINKS)
    found = planned(tmp_path, SUMS, options=":enable_thinking=false,gradient_checkpointing=true").policy.config
    assert found.chat_template_kwargs == {"enable_thinking": False}  # type: ignore[union-attr]
    assert found.gradient_checkpointing  # type: ignore[union-attr]
    with pytest.raises(UnknownNameError, match=r"'enable_thinkin'\. Did you mean 'enable_thinking'"):
        planned(tmp_path, SUMS, options=":enable_thinkin=false")
    with pytest.raises(UnknownNameError, match=r"'lora_rnk'\. Did you mean 'lora_rank'"):
        planned(tmp_path, SUMS, options=":lora_rnk=2")


class Asks(DialogEnv[Task, None]):
    """Answers once, as a user, under instructions."""

    max_turns = 2

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(split)]

    def messages(self, task: Task) -> list[Message]:
        return [{"role": "system", "content": "!"}, {"role": "user", "content": task.prompt}]

    def begin(self, task: Task) -> None:
        return None

    def respond(self, task: Task, state: None, reply: str) -> Message | None:
        return {"role": "user", "content": "really?"}

    @reward(low=0, high=2)
    def good(self, task: Task, turn: Any) -> float:
        return 1.0


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    gdpo_bench.register("test/Asks-v0", Asks)
    return "test/Asks-v0"


def test_a_template_that_changes_earlier_messages_is_refused_with_the_environment_that_needs_it(
    tmp_path: Path, asks: str
) -> None:
    save(tmp_path / "moves", replace(SHUTS, template=MOVES))
    planned(tmp_path / "moves", SUMS)
    with pytest.raises(ChatTemplateError, match=asks):
        planned(tmp_path / "moves", asks)
    save(tmp_path / "folds", ALTERNATES)
    planned(tmp_path / "folds", asks)
