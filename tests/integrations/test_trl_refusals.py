"""What would train on other advantages than asked for is refused.

tox -e trl
"""

import copy
import os

import pytest
import torch

from gdpo_bench.advantages import DomainError, OptionError
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import UnknownNameError
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.trl import TRLEnvironment

if not os.environ.get("GDPO_BENCH_NEEDS_TRL"):  # in its tox environment a missing TRL is a failure
    pytest.importorskip("trl", reason="TRL is not installed: tox -e trl")

import trl
from trl import GRPOTrainer

from gdpo_bench.integrations.trl import NormalizerGRPOTrainer

TOOLS, SUMS = "gdpo/ToolCallingMini-v1", "gdpo/MathMini-v1"


@pytest.mark.parametrize("version", ["1.15.2", "1.17.0", "2.0.0", "1.160.0"])
def test_another_version_of_trl_is_refused(version, policy, trainer_of, monkeypatch):
    monkeypatch.setattr(trl, "__version__", version)
    with pytest.raises(IntegrationError, match=rf"inside TRL 1\.16, and TRL {version} is installed"):
        trainer_of(NormalizerGRPOTrainer, policy, TRLEnvironment(SUMS), normalizer="gdpo")


@pytest.mark.parametrize(
    "setting",
    [{"scale_rewards": "batch"}, {"scale_rewards": False}, {"multi_objective_aggregation": "normalize_then_sum"}],
)
def test_settings_of_trls_own_advantages_are_refused(setting, policy, trainer_of):
    with pytest.raises(IntegrationError, match=rf"{next(iter(setting))}=.* is about TRL's own advantages"):
        trainer_of(NormalizerGRPOTrainer, policy, TRLEnvironment(SUMS), normalizer="gdpo", **setting)


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
def test_a_trl_that_computes_advantages_otherwise_is_refused(change, message, policy, trainer_of, monkeypatch):
    original = GRPOTrainer._generate_and_score_completions

    def changed(self, inputs):
        output = original(self, inputs)
        change(output)
        return output

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", changed)
    trainer = trainer_of(NormalizerGRPOTrainer, policy, TRLEnvironment(TOOLS), normalizer="gdpo")
    with pytest.raises(IntegrationError, match=rf"not computed as NormalizerGRPOTrainer expects.*{message}"):
        trainer.train()


def test_a_trl_that_scores_elsewhere_is_refused(policy, trainer_of, monkeypatch):
    monkeypatch.setattr(
        GRPOTrainer, "_generate_and_score_completions", lambda self, inputs: {"advantages": torch.zeros(len(inputs))}
    )
    trainer = trainer_of(NormalizerGRPOTrainer, policy, TRLEnvironment(TOOLS), normalizer="gdpo")
    with pytest.raises(IntegrationError, match="did not call _calculate_rewards"):
        trainer.train()


def test_rewards_that_a_subclass_changes_too_late_are_refused(policy, trainer_of):
    class Changing(NormalizerGRPOTrainer):
        def _calculate_rewards(self, *args):
            return super()._calculate_rewards(*args).flip(0)

    trainer = trainer_of(Changing, policy, TRLEnvironment(TOOLS), normalizer="gdpo")
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
def test_a_mistaken_normalizer_is_refused_at_once(settings, error, message, policy, trainer_of):
    with pytest.raises(error, match=message):
        trainer_of(NormalizerGRPOTrainer, policy, TRLEnvironment(SUMS), **settings)


def test_a_tokenizer_that_takes_replies_apart_is_refused(policy, trainer_of):
    tokenizer = copy.deepcopy(policy.tokenizer)
    tokenizer.response_schema = {"type": "object"}
    with pytest.raises(IntegrationError, match="response_schema TRL takes replies apart"):
        trainer_of(NormalizerGRPOTrainer, Policy(policy.model, tokenizer), TRLEnvironment(SUMS), normalizer="gdpo")


def test_a_batch_outside_a_normalizers_domain_stops_the_training(policy, trainer_of):
    trainer = trainer_of(NormalizerGRPOTrainer, policy, TRLEnvironment(TOOLS), normalizer="maxrl")
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
