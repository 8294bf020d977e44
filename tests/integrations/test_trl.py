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
from gdpo_bench.advantages import DomainError, OptionError, RewardBatch, compute_advantages, make_normalizer
from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.warm_start import build_corpus, train
from gdpo_bench.core import UnknownNameError
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.trl import TRLEnvironment

if not os.environ.get("GDPO_BENCH_NEEDS_TRL"):  # in its tox environment a missing TRL is a failure
    pytest.importorskip("trl", reason="TRL is not installed: tox -e trl")

import trl
from trl import GRPOTrainer

from gdpo_bench.integrations.trl import NormalizerGRPOTrainer

TOOLS, SUMS = "gdpo/ToolCallingMini-v0", "gdpo/MathMini-v0"
GROUP, BATCH = 4, 16
SETTINGS: dict[str, Any] = {
    "num_generations": GROUP,
    "per_device_train_batch_size": BATCH,
    "max_steps": 3,
    "learning_rate": 1e-3,
    "max_completion_length": 48,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
}


@pytest.fixture(scope="session")
def warm_policy() -> Policy:
    """A small policy that has seen some demonstrations, so that its rewards differ."""
    envs = {env_id: make_env(env_id) for env_id in (TOOLS, SUMS)}
    config = EmbeddedConfig(warm_start_steps=200)
    return train(build_corpus(envs, 2000, seed=0), config, 0, lambda share, text: None)


@pytest.fixture
def policy(warm_policy: Policy) -> Policy:
    return Policy(copy.deepcopy(warm_policy.model), warm_policy.tokenizer)


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


def trainer_of(cls, policy: Policy, folder: Path, env: TRLEnvironment, *, weights=None, **settings):
    own = {name: settings.pop(name) for name in ("normalizer", "eval_dataset") if name in settings}
    trainer = cls(
        policy.model,
        env.reward_funcs,
        args=env.config(str(folder), weights=weights, **(SETTINGS | settings)),
        train_dataset=env.dataset("train"),
        processing_class=policy.tokenizer,
        **own,
    )
    trainer.generated, trainer.used = [], []
    return trainer


def trained(*args, checkpoint=None, **settings):
    trainer = trainer_of(*args, **settings)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def scored_by_us(env_id: str, tasks: list[str], replies: list[str]):
    """Rewards (N, K) of TRL's completions by our own environment, and where they are applicable or failed."""
    vec = make_vec(env_id, num_prompts=len(tasks) // GROUP, group_size=GROUP)
    _, info = vec.reset(options={"task_ids": tasks[::GROUP]})
    assert info["task_id"].tolist() == tasks, "groups of TRL are groups of ours"
    _, rewards, _, _, info = vec.step(replies)
    return torch.from_numpy(rewards), torch.from_numpy(info["applicable"]), torch.from_numpy(info["failed"])


@pytest.mark.slow
@pytest.mark.parametrize("env_id", [TOOLS, SUMS])
def test_rewards_are_ours_rollout_by_rollout(env_id, policy, tmp_path):
    before = [parameter.clone() for parameter in policy.model.parameters()]
    trainer = trained(Ours, policy, tmp_path, TRLEnvironment(env_id), normalizer="gdpo")
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
def test_the_loss_uses_the_normalizers_advantages(given, weights, reference, policy, tmp_path):
    trainer = trained(
        Ours,
        policy,
        tmp_path,
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
def test_the_preset_trains_as_unmodified_trl(normalizer, settings, warm_policy, tmp_path):
    """The same seeds, so the same completions, as long as the updates are the same."""
    runs = []
    for cls, own in ((Theirs, settings), (Ours, {"normalizer": normalizer})):
        policy = Policy(copy.deepcopy(warm_policy.model), warm_policy.tokenizer)
        env = TRLEnvironment(TOOLS)
        runs.append(trained(cls, policy, tmp_path, env, weights={"format": 2.0}, **own))
    theirs, ours = runs
    assert len(theirs.generated) == len(ours.generated) == 3
    for a, b in zip(theirs.generated, ours.generated, strict=True):
        assert (a["tasks"], a["replies"], a["rewards"]) == (b["tasks"], b["replies"], b["rewards"])
        torch.testing.assert_close(a["advantages"], b["advantages"], atol=1e-5, rtol=1e-5)
        assert a["advantages"].abs().max() > 0.1
    losses = [[entry["loss"] for entry in run.state.log_history if "loss" in entry] for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.slow
def test_absent_rewards_and_failed_scorers_reach_the_normalizer_apart(moody, policy, tmp_path):
    normalizer = "gdpo:missing=skip,failed=zero"
    trainer = trained(Ours, policy, tmp_path, TRLEnvironment(moody), normalizer=normalizer, temperature=2.0)
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
def test_other_reward_functions_and_normalizers_of_ones_own_fit_in(policy, tmp_path):
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
        args=trl.GRPOConfig(str(tmp_path), **(SETTINGS | {"max_steps": 1})),
        train_dataset=env.dataset(),
        processing_class=policy.tokenizer,
        normalizer=first_reward,
    )
    trainer.train()
    (batch,) = seen
    assert batch.given.shape == (BATCH, 5)
    assert batch.weights.tolist() == [1.0] * 5
    assert list(trainer._logs["rewards"]["brevity"]) == batch.given[:, 0].tolist()
    assert list(trainer._logs["advantages"]) == pytest.approx((batch.rewards[:, 0] - 0.5).tolist())


@pytest.mark.slow
def test_an_evaluation_leaves_a_running_average_alone_and_a_checkpoint_keeps_it(policy, warm_policy, tmp_path):
    env = TRLEnvironment(TOOLS)
    settings = {"normalizer": "dgdo", "save_strategy": "steps", "save_steps": 2, "eval_dataset": env.dataset("eval")}
    settings |= {"eval_strategy": "no", "per_device_eval_batch_size": 8}
    trainer = trained(Ours, policy, tmp_path / "run", env, **settings, max_steps=2)
    average = trainer.normalizer.state_dict()
    assert average != make_normalizer("dgdo").state_dict()
    trainer.evaluate()
    assert not trainer.generated[-1]["training"]
    assert trainer.normalizer.state_dict() == average

    checkpoint = tmp_path / "run" / "checkpoint-2"
    again = [Policy(copy.deepcopy(warm_policy.model), warm_policy.tokenizer) for _ in range(2)]
    resumed = trained(Ours, again[0], tmp_path / "run", env, **settings, max_steps=3, checkpoint=str(checkpoint))
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
        trained(Ours, again[1], tmp_path / "run", env, **settings, max_steps=3, checkpoint=str(checkpoint))


@pytest.mark.slow
def test_two_processes_normalize_over_the_whole_batch(warm_policy, tmp_path):
    """Six rollouts a process in groups of four: the second group lies in both."""
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
        expected = compute_advantages("gdpo", rewards.float(), torch.arange(12) // GROUP, weights=[3.0, 1.0])
        assert expected.abs().max() > 0.1
        assert first["advantages"] == expected[:6].tolist()
        assert second["advantages"] == expected[6:].tolist()
        assert first["logged"] == second["logged"] == expected.tolist()


@pytest.mark.slow
def test_the_documentation_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(tmp_path))
    text = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
    section = re.search(r"^## TRL$(.*?)(^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "script.py").write_text("".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count("'train_loss'") == len(blocks) == 2


# What would train on other advantages than asked for is refused.


@pytest.mark.parametrize("version", ["1.15.2", "1.17.0", "2.0.0", "1.160.0"])
def test_another_version_of_trl_is_refused(version, policy, tmp_path, monkeypatch):
    monkeypatch.setattr(trl, "__version__", version)
    with pytest.raises(IntegrationError, match=rf"inside TRL 1\.16, and TRL {version} is installed"):
        trainer_of(NormalizerGRPOTrainer, policy, tmp_path, TRLEnvironment(SUMS), normalizer="gdpo")


@pytest.mark.parametrize(
    "setting",
    [{"scale_rewards": "batch"}, {"scale_rewards": False}, {"multi_objective_aggregation": "normalize_then_sum"}],
)
def test_settings_of_trls_own_advantages_are_refused(setting, policy, tmp_path):
    with pytest.raises(IntegrationError, match=rf"{next(iter(setting))}=.* is about TRL's own advantages"):
        trainer_of(NormalizerGRPOTrainer, policy, tmp_path, TRLEnvironment(SUMS), normalizer="gdpo", **setting)


def _reversed(output):
    output["advantages"] = output["advantages"].flip(0)


def _scaled(output):
    output["advantages"] = output["advantages"] * 2


def _per_token(output):
    output["advantages"] = output["advantages"][:, None]


def _gone(output):
    del output["advantages"]


@pytest.mark.parametrize(
    ("change", "message"),
    [(_reversed, "TRL computed"), (_scaled, "TRL computed"), (_per_token, "expected advantages"), (_gone, "NoneType")],
)
def test_a_trl_that_computes_advantages_otherwise_is_refused(change, message, policy, tmp_path, monkeypatch):
    original = GRPOTrainer._generate_and_score_completions

    def changed(self, inputs):
        output = original(self, inputs)
        change(output)
        return output

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", changed)
    trainer = trainer_of(NormalizerGRPOTrainer, policy, tmp_path, TRLEnvironment(TOOLS), normalizer="gdpo")
    with pytest.raises(IntegrationError, match=rf"not computed as NormalizerGRPOTrainer expects.*{message}"):
        trainer.train()


def test_a_trl_that_scores_elsewhere_is_refused(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(
        GRPOTrainer, "_generate_and_score_completions", lambda self, inputs: {"advantages": torch.zeros(len(inputs))}
    )
    trainer = trainer_of(NormalizerGRPOTrainer, policy, tmp_path, TRLEnvironment(TOOLS), normalizer="gdpo")
    with pytest.raises(IntegrationError, match="did not call _calculate_rewards"):
        trainer.train()


def test_rewards_that_a_subclass_changes_too_late_are_refused(policy, tmp_path):
    class Changing(NormalizerGRPOTrainer):
        def _calculate_rewards(self, *args):
            return super()._calculate_rewards(*args).flip(0)

    trainer = trainer_of(Changing, policy, tmp_path, TRLEnvironment(TOOLS), normalizer="gdpo")
    with pytest.raises(IntegrationError, match="TRL computed"):
        trainer.train()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"normalizer": "gpdo"}, UnknownNameError, "Unknown normalizer 'gpdo'"),
        ({"normalizer": "gdpo:epz=1"}, UnknownNameError, "Unknown option of normalizer 'gdpo' 'epz'"),
        ({"normalizer": "gdpo:eps=-1"}, OptionError, "Option eps must be"),
        ({"normalizer": "gdpo:eps=1,x"}, OptionError, "expected option=value; got 'x'"),
        ({"normalizer": "gdpo:weights.format=x"}, OptionError, "valid number"),
        ({"normalizer": "gdpo:weights.form=2"}, UnknownNameError, "Did you mean 'format'"),
        ({"normalizer": 7}, OptionError, "a function of a RewardBatch; got 7"),
        (
            {"normalizer": "gdpo:weights.format=2", "weights": {"integer": 3.0}},
            IntegrationError,
            r"Weights came twice: \{'format': 2.0\} with the normalizer",
        ),
    ],
    ids=str,
)
def test_a_mistaken_normalizer_is_refused_at_once(settings, error, message, policy, tmp_path):
    with pytest.raises(error, match=message):
        trainer_of(NormalizerGRPOTrainer, policy, tmp_path, TRLEnvironment(SUMS), **settings)


def test_a_tokenizer_that_takes_replies_apart_is_refused(policy, tmp_path):
    tokenizer = copy.deepcopy(policy.tokenizer)
    tokenizer.response_schema = {"type": "object"}
    with pytest.raises(IntegrationError, match="response_schema TRL takes replies apart"):
        trainer_of(
            NormalizerGRPOTrainer, Policy(policy.model, tokenizer), tmp_path, TRLEnvironment(SUMS), normalizer="gdpo"
        )


def test_a_batch_outside_a_normalizers_domain_stops_the_training(policy, tmp_path):
    trainer = trainer_of(NormalizerGRPOTrainer, policy, tmp_path, TRLEnvironment(TOOLS), normalizer="maxrl")
    with pytest.raises(DomainError):
        trainer.train()


def test_the_config_sets_what_the_environment_decides(tmp_path):
    env = TRLEnvironment(TOOLS)
    config = env.config(str(tmp_path), weights={"correctness": 2.0}, num_generations=4, use_cpu=True)
    assert config.reward_weights == [1.0, 2.0]
    assert (config.remove_unused_columns, config.num_generations) == (False, 4)
    with pytest.raises(
        IntegrationError, match=r"weights=\{…\}, not reward_weights; the rewards are format, correctness"
    ):
        env.config(str(tmp_path), reward_weights=[1.0, 2.0])
    with pytest.raises(IntegrationError, match="remove_unused_columns must be False"):
        env.config(str(tmp_path), remove_unused_columns=True)
    with pytest.raises(UnknownNameError, match="Did you mean 'format'"):
        env.config(str(tmp_path), weights={"fromat": 1.0})
