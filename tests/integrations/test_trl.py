"""TRL really trains on our environments, with our advantages.

tox -e trl
"""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gdpo_bench import make_env, make_vec
from gdpo_bench.advantages import RewardBatch, compute_advantages, make_normalizer
from gdpo_bench.agent.policy import Policy
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.trl import TRLEnvironment

if not os.environ.get("GDPO_BENCH_NEEDS_TRL"):  # in its tox environment a missing TRL is a failure
    pytest.importorskip("trl", reason="TRL is not installed: tox -e trl")

from trl import GRPOConfig, GRPOTrainer

from gdpo_bench.integrations.trl import NormalizerGRPOTrainer

TOOLS, SUMS = "gdpo/ToolCallingMini-v1", "gdpo/MathMini-v1"
GROUP, BATCH = 4, 16


class Recorder:
    """Notes what a trainer generated, and what came to its loss."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        note = {"training": self.model.training, "tasks": [row["task_id"] for row in inputs]}
        note["replies"] = [message["content"] for (message,) in list(self._logs["completion"])[-len(inputs) :]]
        note["rewards"] = {name: list(log)[-len(inputs) :] for name, log in self._logs["rewards"].items()}
        note["lengths"] = output["completion_mask"].sum(1)
        note["advantages"] = output["advantages"].clone()
        note["logged"] = list(self._logs["advantages"])[-len(inputs) :]
        note["keys"] = keys(output)
        self.generated.append(note)
        return output

    def _compute_loss(self, model, inputs):
        self.used += zip(keys(inputs), inputs["advantages"].tolist(), strict=True)
        return super()._compute_loss(model, inputs)

    @property
    def rewards(self):
        """(generations, N, K)"""
        return torch.tensor([list(note["rewards"].values()) for note in self.generated]).mT


def keys(inputs):
    """Prompt and completion of each rollout, which stay together however a batch is shuffled."""
    return [
        (tuple(prompt), tuple(reply))
        for prompt, reply in zip(inputs["prompt_ids"].tolist(), inputs["completion_ids"].tolist(), strict=True)
    ]


class Ours(Recorder, NormalizerGRPOTrainer):
    pass


class Theirs(Recorder, GRPOTrainer):
    pass


@pytest.fixture
def trained(trainer_of):
    def run(cls, policy, env, checkpoint=None, **settings):
        trainer = trainer_of(cls, policy, env, **settings)
        trainer.generated, trainer.used = [], []
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer

    return run


def scored_by_us(env_id: str, tasks: list[str], replies: list[str]):
    """Rewards (N, K) of TRL's completions by our own environment, and where they are applicable or failed."""
    vec = make_vec(env_id, num_prompts=len(tasks) // GROUP, group_size=GROUP)
    _, info = vec.reset(options={"task_ids": tasks[::GROUP]})
    assert info["task_id"].tolist() == tasks, "groups of TRL are groups of ours"
    _, rewards, _, _, info = vec.step(replies)
    return torch.from_numpy(rewards), torch.from_numpy(info["applicable"]), torch.from_numpy(info["failed"])


@pytest.mark.slow
@pytest.mark.parametrize("env_id", [TOOLS, SUMS])
def test_rewards_are_ours_rollout_by_rollout(env_id, policy, trained):
    before = [parameter.clone() for parameter in policy.model.parameters()]
    trainer = trained(Ours, policy, TRLEnvironment(env_id), normalizer="gdpo")
    assert len(trainer.generated) == 3
    for note in trainer.generated:
        ours, _, _ = scored_by_us(env_id, note["tasks"], note["replies"])
        assert list(note["rewards"]) == [spec.name for spec in make_env(env_id).reward_specs]
        assert torch.equal(torch.tensor(list(note["rewards"].values())).T, ours.float())
    spread = trainer.rewards.flatten(0, 1).std(0)
    assert (spread > 0).all(), "rewards that never vary would prove nothing"
    assert any(not torch.equal(old, new) for old, new in zip(before, policy.model.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "weights", "reference"),
    [
        ("gdpo", {}, {"name": "gdpo"}),
        ("gdpo:weights.format=3", {"format": 3.0}, {"name": "gdpo"}),
        ("gdpo:preset=verl", {}, {"name": "gdpo", "preset": "verl"}),  # token-weighted: reads lengths
        ("grpo", {"correctness": 0.25}, {"name": "grpo"}),
        ("grpo_scaled", {}, {"name": "grpo_scaled"}),  # reads declared ranges
        (make_normalizer("gd2po", tau=0.2), {"format": 2.0}, {"name": "gd2po", "tau": 0.2}),
        ("gd2po:tau=0.2,eps=1e-4", {}, {"name": "gd2po", "tau": 0.2, "eps": 1e-4}),
        ("dgdo", {}, {"name": "dgdo"}),  # keeps a running average from batch to batch
        ("opo", {}, {"name": "opo"}),  # reads lengths
    ],
    ids=str,
)
def test_the_loss_uses_the_normalizers_advantages(given, weights, reference, policy, trained):
    trainer = trained(
        Ours,
        policy,
        TRLEnvironment(TOOLS),
        weights=None if isinstance(given, str) and "weights." in given else weights,
        normalizer=given,
        # two generations for four steps, in shuffled pieces
        per_device_train_batch_size=BATCH // 2,
        steps_per_generation=2,
        max_steps=4,
    )
    reference = make_normalizer(**reference)
    assert len(trainer.generated) == 2
    expected = {}
    for note in trainer.generated:
        rewards, _, _ = scored_by_us(TOOLS, note["tasks"], note["replies"])
        advantages = compute_advantages(
            reference,
            rewards.float(),
            torch.arange(BATCH) // GROUP,
            specs=make_env(TOOLS).reward_specs,
            weights=weights,
            lengths=note["lengths"],
        )
        assert torch.equal(note["advantages"], advantages)
        assert note["logged"] == advantages.tolist()
        assert advantages.abs().max() > 0.1
        expected |= dict(zip(note["keys"], advantages.tolist(), strict=True))
    assert len(trainer.used) == 2 * BATCH
    assert {key for key, _ in trainer.used} == expected.keys()
    assert all(expected[key] == advantage for key, advantage in trainer.used)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalizer", "settings"),
    [
        ("gdpo:preset=trl", {"multi_objective_aggregation": "normalize_then_sum"}),
        ("grpo:preset=trl", {}),
        ("grpo_no_std:preset=trl", {"scale_rewards": "none"}),
        ("grpo_batch_std:preset=trl", {"scale_rewards": "batch"}),
    ],
)
def test_the_preset_trains_as_unmodified_trl(normalizer, settings, warm_policy, trained):
    """The same seeds, so the same completions, as long as the updates are the same."""
    runs = []
    for cls, own in ((Theirs, settings), (Ours, {"normalizer": normalizer})):
        policy = Policy(copy.deepcopy(warm_policy.model), warm_policy.tokenizer)
        env = TRLEnvironment(TOOLS)
        runs.append(trained(cls, policy, env, weights={"format": 2.0}, **own))
    theirs, ours = runs
    assert len(theirs.generated) == len(ours.generated) == 3
    for a, b in zip(theirs.generated, ours.generated, strict=True):
        assert (a["tasks"], a["replies"], a["rewards"]) == (b["tasks"], b["replies"], b["rewards"])
        torch.testing.assert_close(a["advantages"], b["advantages"], atol=1e-5, rtol=1e-5)
        assert a["advantages"].abs().max() > 0.1
    losses = [[entry["loss"] for entry in run.state.log_history if "loss" in entry] for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.slow
def test_absent_rewards_and_failed_scorers_reach_the_normalizer_apart(moody, policy, trained):
    normalizer = "gdpo:missing=skip,failed=zero"
    trainer = trained(Ours, policy, TRLEnvironment(moody), normalizer=normalizer, temperature=2.0)
    differs = False
    for note in trainer.generated:
        rewards, applicable, failed = scored_by_us(moody, note["tasks"], note["replies"])
        expected, alike = (
            compute_advantages(
                make_normalizer("gdpo", missing="skip", failed=policy_of_failed),
                rewards.float(),
                torch.arange(BATCH) // GROUP,
                weights=[0.5, 1.0, 1.0],
                applicable=applicable,
                failed=failed,
            )
            for policy_of_failed in ("zero", "skip")
        )
        assert torch.equal(note["advantages"], expected)
        logged = torch.tensor(list(note["rewards"].values())).T
        assert torch.equal(logged.isnan(), ~applicable | failed)
        assert torch.equal(logged.nan_to_num(), rewards.float())
        differs |= not torch.equal(expected, alike)
    assert differs, "no batch had a failure that matters"
    assert any("rewards/luck/failed" in entry for entry in trainer.state.log_history)


@pytest.mark.slow
def test_other_reward_functions_and_normalizers_of_ones_own_fit_in(policy, run_settings):
    def brevity(completions: list[Any], **columns: Any) -> list[float]:
        return [-float(len(message["content"])) for (message,) in completions]

    seen: list[RewardBatch] = []

    def first_reward(batch: RewardBatch) -> torch.Tensor:
        seen.append(batch)
        return batch.rewards[:, 0] - 0.5

    env = TRLEnvironment(SUMS)
    trainer = NormalizerGRPOTrainer(
        policy.model,
        [brevity, *env.reward_funcs],
        args=GRPOConfig(
            **(run_settings | {"max_steps": 1, "reward_weights": [0.25, *env.reward_weights({"format": 2})]})
        ),
        train_dataset=env.dataset(),
        processing_class=policy.tokenizer,
        normalizer=first_reward,
    )
    trainer.train()
    (batch,) = seen
    assert batch.given.shape == (BATCH, 5)
    assert batch.weights.tolist() == [0.25, 1.0, 1.0, 2.0, 1.0]
    assert list(trainer._logs["rewards"]["brevity"]) == batch.given[:, 0].tolist()
    assert list(trainer._logs["advantages"]) == pytest.approx((batch.rewards[:, 0] - 0.5).tolist())


@pytest.mark.slow
def test_an_evaluation_leaves_a_running_average_alone_and_a_checkpoint_keeps_it(policy, warm_policy, trained, tmp_path):
    env = TRLEnvironment(TOOLS)
    settings = {"normalizer": "dgdo", "save_strategy": "steps", "save_steps": 2, "eval_dataset": env.dataset("eval")}
    settings |= {"eval_strategy": "no", "per_device_eval_batch_size": 8}
    trainer = trained(Ours, policy, env, **settings, max_steps=2)
    average = trainer.normalizer.state_dict()
    assert average != make_normalizer("dgdo").state_dict()
    trainer.evaluate()
    assert not trainer.generated[-1]["training"]
    assert trainer.normalizer.state_dict() == average

    checkpoint = tmp_path / "run" / "checkpoint-2"
    again = [Policy(copy.deepcopy(warm_policy.model), warm_policy.tokenizer) for _ in range(2)]
    resumed = trained(Ours, again[0], env, **settings, max_steps=3, checkpoint=str(checkpoint))
    (note,) = resumed.generated
    rewards, _, _ = scored_by_us(TOOLS, note["tasks"], note["replies"])
    reference, fresh = make_normalizer("dgdo"), make_normalizer("dgdo")
    reference.load_state_dict(average)
    expected, forgetful = (
        compute_advantages(f, rewards.float(), torch.arange(BATCH) // GROUP) for f in (reference, fresh)
    )
    assert torch.equal(note["advantages"], expected)
    assert not torch.allclose(note["advantages"], forgetful)

    (checkpoint / "normalizer.json").unlink()
    with pytest.raises(IntegrationError, match=r"holds no normalizer\.json"):
        trained(Ours, again[1], env, **settings, max_steps=3, checkpoint=str(checkpoint))


@pytest.mark.slow
def test_two_processes_normalize_over_the_whole_batch(warm_policy, tmp_path):
    """Six rollouts a process in groups of four: the second group lies in both. Lengths count too."""
    warm_policy.model.save_pretrained(tmp_path / "policy")
    warm_policy.tokenizer.save_pretrained(tmp_path / "policy")
    script = Path(__file__).parent / "trl_process.py"
    launch = "-m torch.distributed.run --standalone --nproc_per_node=2"
    done = subprocess.run(
        [sys.executable, *launch.split(), str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == 2
    for first, second in zip(*parts, strict=True):
        tasks, replies = first["tasks"] + second["tasks"], first["replies"] + second["replies"]
        assert first["tasks"][4:] == second["tasks"][:2]
        rewards, _, _ = scored_by_us(TOOLS, tasks, replies)
        expected = compute_advantages(
            make_normalizer("gdpo", scope="token"),
            rewards.float(),
            torch.arange(12) // GROUP,
            weights=[3.0, 1.0],
            lengths=first["lengths"] + second["lengths"],
        )
        assert expected.abs().max() > 0.1
        assert first["advantages"] == expected[:6].tolist()
        assert second["advantages"] == expected[6:].tolist()
        assert first["logged"] == second["logged"] == expected.tolist()


@pytest.mark.slow
def test_the_documentation_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(tmp_path))
    text = (Path(__file__).parents[2] / "docs" / "to-trl.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "script.py").write_text("".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert len(blocks) == 4
    assert done.stdout.count("'train_loss'") == 3  # the mixture is not trained
