"""verl's own data set, reward managers, configuration and advantage call on what we hand it.

tox -e verl
"""

import asyncio
import copy
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

if not os.environ.get("GDPO_BENCH_NEEDS_VERL"):  # in its tox environment a missing verl is a failure
    pytest.importorskip("verl", reason="verl is not installed: tox -e verl")

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.trainer.ppo import ray_trainer
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.utils.config import validate_config
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
from verl.workers.reward_manager import get_reward_manager_cls

from gdpo_bench import make_env, make_vec
from gdpo_bench.advantages import DomainError, OptionError, compute_advantages, list_normalizers, make_normalizer
from gdpo_bench.agent.policies.embedded import build_tokenizer
from gdpo_bench.conformance import CLAIMED
from gdpo_bench.core import UnknownNameError
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.mixture import read_mixture, write_mixture
from gdpo_bench.integrations.verl import compute_score, compute_scores, estimators, write_data
from gdpo_bench.integrations.verl.__main__ import CONFIG_DIR

ENV = "gdpo/ToolCallingMini-v1"
PROMPTS, GROUP = 6, 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    env = make_env(ENV)
    texts = [f"{env.messages(task)[0]['content']} {env.reference(task)}" for task in env.tasks("train")[:200]]
    return build_tokenizer(texts, 400)


@pytest.fixture(scope="module")
def config(tmp_path_factory, tokenizer):
    """Our ready configuration, put together as main_ppo's command line does it."""
    folder = tmp_path_factory.mktemp("verl")
    tokenizer.save_pretrained(folder / "model")
    write_data(ENV, folder)
    with initialize_config_dir(str(CONFIG_DIR), version_base=None):
        return compose(
            "gdpo_bench",
            overrides=[
                "hydra.searchpath=[pkg://verl.trainer.config]",
                f"data.train_files={folder}/train.parquet",
                f"data.val_files={folder}/eval.parquet",
                f"actor_rollout_ref.model.path={folder}/model",
            ],
        )


@pytest.fixture(scope="module")
def dataset(config, tokenizer):
    return RLHFDataset(config.data.train_files, tokenizer, config.data)


@pytest.fixture(scope="module")
def rollouts(dataset, tokenizer):
    """A batch as verl's trainer holds it after generation: 6 prompts, 4 replies each, and the replies."""
    env = make_env(ENV)
    rows = [dataset[i] for i in range(PROMPTS)]
    prompts, replies, columns = [], [], []
    for i, row in enumerate(rows):
        task = env.tasks("train")[row["extra_info"]["index"]]
        right = env.reference(task)
        other = env.reference(env.tasks("train")[i + 1])
        for reply in (right, other, right.replace("<think>", "", 1), other[: len(other) // 2]):
            prompts.append(tokenizer.apply_chat_template(row["raw_prompt"], add_generation_prompt=True)["input_ids"])
            replies.append(reply)
            columns.append({**row, "extra_info": dict(row["extra_info"]), "uid": f"prompt {i}"})
    tokens = [tokenizer(reply)["input_ids"] for reply in replies]
    width = max(map(len, prompts)), max(map(len, tokens))
    padded = {
        "prompts": torch.tensor([[0] * (width[0] - len(ids)) + ids for ids in prompts]),
        "responses": torch.tensor([ids + [0] * (width[1] - len(ids)) for ids in tokens]),
        "attention_mask": torch.tensor(
            [
                [0] * (width[0] - len(p)) + [1] * len(p) + [1] * len(r) + [0] * (width[1] - len(r))
                for p, r in zip(prompts, tokens, strict=True)
            ]
        ),
    }
    non_tensors = {key: value for key, value in collate_fn(columns).items() if not isinstance(value, torch.Tensor)}
    return DataProto(TensorDict(padded, batch_size=len(tokens)), non_tensors), replies


@pytest.fixture(scope="module")
def expected(rollouts):
    """Our rewards (N, K), by `step` of the vector environment."""
    data, replies = rollouts
    vec = make_vec(ENV, num_prompts=PROMPTS, group_size=GROUP)
    vec.reset(options={"task_ids": [row["ground_truth"] for row in data.non_tensor_batch["reward_model"][::GROUP]]})
    return vec.step(replies)[1]


@pytest.fixture(scope="module")
def scored(config, rollouts, expected):
    """The batch with what verl's reward loop found, put together as its `RewardLoopManager` does it."""
    data, _ = rollouts
    worker = RewardLoopWorker(config)
    outputs = asyncio.get_event_loop().run_until_complete(worker.compute_score_batch(data))
    manager = type(worker.reward_manager)
    scores = manager.assemble_rm_scores(data, [output["reward_score"] for output in outputs])
    infos = [output["reward_extra_info"] for output in outputs]
    batch = data.batch.clone()
    batch["token_level_scores"] = batch["token_level_rewards"] = scores
    extra = {key: np.array([info[key] for info in infos]) for key in infos[0]}
    return DataProto(batch, data.non_tensor_batch | extra)


def settings(name="gdpo", **changes):
    """verl's `algorithm` section with changes to ours."""
    return OmegaConf.create({"adv_estimator": f"gdpo_bench/{name}", "use_kl_in_reward": False, "gdpo_bench": changes})


def verls_advantages(data, config):
    fresh = DataProto(data.batch.clone(), dict(data.non_tensor_batch))
    return ray_trainer.compute_advantage(fresh, config.adv_estimator, config=config).batch


def names():
    return [spec.name for spec in make_env(ENV).reward_specs]


def lengths(data):
    return data.batch["attention_mask"][:, data.batch["prompts"].shape[1] :].sum(1)


def test_verls_data_set_reads_what_we_write(dataset):
    env = make_env(ENV)
    assert len(dataset) == len(env.tasks("train"))
    row, task = dataset[3], env.tasks("train")[3]
    assert list(row["raw_prompt"]) == env.messages(task)
    assert row["reward_model"]["ground_truth"] == task.id
    assert row["data_source"] == ENV


def test_the_ready_configuration_passes_verls_validation(config):
    from verl.trainer.ppo.utils import need_critic, need_reference_policy

    with open_dict(config):
        validate_config(config, need_reference_policy(config), need_critic(config))
    assert not need_critic(config)
    assert config.algorithm.adv_estimator == "gdpo_bench/gdpo"


def test_verls_own_command_puts_the_ready_configuration_together(tmp_path):
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-dir", str(CONFIG_DIR)]
    command += ["--config-name", "gdpo_bench", "--cfg", "job", "algorithm.adv_estimator=gdpo_bench/gd2po"]
    command += ["+algorithm.gdpo_bench.options.tau=0.2", "+algorithm.gdpo_bench.weights.format=0.5"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    found = OmegaConf.create(done.stdout)
    assert found.algorithm.gdpo_bench == {"options": {"tau": 0.2}, "weights": {"format": 0.5}}
    assert found.reward.custom_reward_function.path == "pkg://gdpo_bench.integrations.verl"


def test_rewards_of_the_reward_loop_equal_ours_rollout_by_rollout(scored, expected):
    found = np.stack([scored.non_tensor_batch[f"reward/{name}"] for name in names()], axis=1)
    assert np.array_equal(found, expected)
    assert len(set(map(tuple, expected))) > 2
    weights = [spec.weight for spec in make_env(ENV).reward_specs]
    assert torch.allclose(scored.batch["token_level_scores"].sum(1), torch.tensor(expected @ weights).float())


@pytest.mark.parametrize("manager", ["naive", "batch"])
def test_rewards_of_the_older_managers_equal_ours_rollout_by_rollout(manager, tokenizer, rollouts, expected):
    data, _ = rollouts
    function = {"naive": compute_score, "batch": compute_scores}[manager]
    found = get_reward_manager_cls(manager)(tokenizer, 0, function)(data, return_dict=True)
    extra = found["reward_extra_info"]
    assert np.array_equal(np.stack([extra[f"reward/{name}"] for name in names()], axis=1), expected)
    assert found["reward_tensor"].sum(1).tolist() == pytest.approx(extra["score"])


@pytest.mark.parametrize("name", list_normalizers())
def test_advantages_of_verls_call_equal_our_normalizer(name, scored, expected):
    options = CLAIMED.get(name, {})
    groups = np.repeat(np.arange(PROMPTS), GROUP)
    specs = make_env(ENV).reward_specs
    normalizer = make_normalizer(name, **options)
    estimators._normalizer.cache_clear()  # some have a state
    try:
        ours = compute_advantages(normalizer, expected, groups, specs=specs, lengths=lengths(scored))
    except DomainError as error:
        with pytest.raises(DomainError, match=re.escape(str(error))):
            verls_advantages(scored, settings(name, options=options))
        return
    found = verls_advantages(scored, settings(name, options=options))
    mask = found["response_mask"]
    assert torch.equal(found["advantages"], ours.float()[:, None] * mask)
    assert torch.equal(found["returns"], found["advantages"])
    assert ours.abs().max() > 0.1


def test_verls_preset_of_ours_equals_verls_own_gdpo(scored):
    config = settings(options={"preset": "verl"})
    ours = verls_advantages(scored, config)["advantages"]
    keys = [f"reward/{name}" for name in names()]
    theirs = verls_advantages(scored, OmegaConf.create({"adv_estimator": "gdpo", "gdpo_reward_keys": keys}))
    assert torch.allclose(ours, theirs["advantages"], atol=1e-5)
    assert ours.abs().max() > 0.1


def test_rewards_are_bound_by_name_whatever_their_order(scored):
    other = DataProto(scored.batch.clone(), dict(reversed(scored.non_tensor_batch.items())))
    config = settings(weights={"format": 3.0})
    assert torch.equal(verls_advantages(scored, config)["advantages"], verls_advantages(other, config)["advantages"])
    assert not torch.equal(
        verls_advantages(scored, config)["advantages"], verls_advantages(scored, settings())["advantages"]
    )


def test_weights_and_options_reach_the_normalizer(scored, expected):
    config = settings("gdpo", weights={"format": 3.0}, options={"batch_norm": False})
    ours = compute_advantages(
        make_normalizer("gdpo", batch_norm=False),
        expected,
        np.repeat(np.arange(PROMPTS), GROUP),
        specs=make_env(ENV).reward_specs,
        weights={"format": 3.0},
    )
    assert torch.equal(verls_advantages(scored, config)["advantages"][:, 0], ours.float())


def test_a_function_of_the_users_own_is_an_estimator_too(scored, expected, tmp_path, monkeypatch):
    (tmp_path / "own_estimator.py").write_text("def halved(batch):\n    return batch.rewards[:, 0] / 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = settings(normalizer="own_estimator:halved")
    config.adv_estimator = "gdpo_bench"
    found = verls_advantages(scored, config)["advantages"][:, 0]
    assert found.tolist() == pytest.approx((expected[:, 0] / 2).tolist())


def test_absent_and_failed_rewards_reach_the_normalizer_as_masks(moody):
    env = make_env(moody)
    odd, even = (next(t for t in env.tasks("train") if int(t.prompt.split(":")[0]) % 2 == rest) for rest in (1, 0))
    tasks, replies = [odd, odd, odd, even, even, even], ["aaaaa", "aab", "a", "aaaaaa", "ab", "aaa"]
    infos = compute_scores([moody] * 6, replies, [task.id for task in tasks], [None] * 6)
    vec = make_vec(moody, num_prompts=2, group_size=3)
    vec.reset(options={"task_ids": [odd.id, even.id]})
    _, rewards, *_, info = vec.step(replies)
    masks = {key: info[key] for key in ("applicable", "failed")}
    assert not masks["applicable"].all()
    assert masks["failed"].any()
    ours = compute_advantages("gdpo", rewards, [0, 0, 0, 1, 1, 1], specs=env.reward_specs, **masks)
    mask = torch.ones(6, 3, dtype=torch.long)
    batch = TensorDict({"token_level_rewards": torch.zeros(6, 3), "response_mask": mask}, batch_size=6)
    columns = {key: np.array([row[key] for row in infos]) for key in infos[0]}
    columns |= {"uid": np.array(list("aaabbb"), object), "data_source": np.array([moody] * 6, object)}
    data = DataProto(batch, columns)
    found = verls_advantages(data, settings())["advantages"]
    assert found.isfinite().all()
    assert torch.equal(found, ours.float()[:, None].expand(6, 3))


def test_a_batch_of_several_environments_has_a_column_for_each_reward(moody):
    choices = [(ENV, "{}"), (moody, "{}")]
    tasks = [make_env(env_id).tasks("train")[0] for env_id, _ in choices]
    sources = [ENV] * 3 + [moody] * 3
    replies = [make_env(ENV).reference(tasks[0]), "", "<think>", "aaaaa", "ab", "aaa"]
    info = {"options": "{}", "environments": write_mixture(choices)}
    ids = [tasks[i // 3].id for i in range(6)]
    infos = compute_scores(sources, replies, ids, [info] * 6)
    specs = [spec for own in read_mixture(info["environments"]).values() for spec in own]
    rewards, applicable, failed = (
        np.array([[row[f"reward/{spec.name}{suffix}"] for spec in specs] for row in infos])
        for suffix in ("", "/applicable", "/failed")
    )
    first = len(make_env(ENV).reward_specs)
    assert applicable[:3, :first].all()
    assert applicable[:3, first:].sum() == applicable[3:, :first].sum() == 0
    weights = {"Moody_v0_luck": 2.0}
    ours = compute_advantages(
        "gdpo", rewards, [0, 0, 0, 1, 1, 1], specs=specs, weights=weights, applicable=applicable > 0, failed=failed > 0
    )
    assert ours[:3].std() > 0
    assert ours[3:].std() > 0
    batch = TensorDict(
        {"token_level_rewards": torch.zeros(6, 3), "response_mask": torch.ones(6, 3, dtype=torch.long)}, batch_size=6
    )
    columns = {key: np.array([row[key] for row in infos]) for key in infos[0]}
    columns |= {"uid": np.array(list("aaabbb"), object), "data_source": np.array(sources, object)}
    columns["extra_info"] = np.array([info] * 6, object)
    found = verls_advantages(DataProto(batch, columns), settings(weights=weights))["advantages"]
    assert torch.equal(found[:, 0], ours.float())


def test_rewards_of_another_reward_function_can_be_normalized_too(scored, expected):
    columns = {f"reward/r{k}": expected[:, k] for k in range(expected.shape[1])}
    columns["uid"] = scored.non_tensor_batch["uid"]
    columns["data_source"] = np.array(["openai/gsm8k"] * len(expected), object)
    found = verls_advantages(DataProto(scored.batch.clone(), columns), settings(weights={"r1": 2.0}))["advantages"]
    weights = [1.0, 2.0] + [1.0] * (expected.shape[1] - 2)
    ours = compute_advantages("gdpo", expected, np.repeat(np.arange(PROMPTS), GROUP), weights=weights)
    assert torch.equal(found[:, 0], ours.float())


def test_other_estimators_of_verl_are_left_as_they_were(scored):
    original = ray_trainer.compute_advantage.__wrapped__
    for name in ("grpo", "rloo"):
        config = OmegaConf.create({"adv_estimator": name})
        fresh = DataProto(scored.batch.clone(), dict(scored.non_tensor_batch))
        theirs = original(fresh, name, config=config).batch["advantages"]
        assert torch.equal(verls_advantages(scored, config)["advantages"], theirs)


def test_what_cannot_be_meant_is_refused(scored):
    bare = DataProto(scored.batch.clone(), {"uid": scored.non_tensor_batch["uid"]})
    with pytest.raises(IntegrationError, match="No column reward/<name> arrived"):
        verls_advantages(bare, settings())
    with pytest.raises(IntegrationError, match="use_kl_loss=True"):
        verls_advantages(scored, OmegaConf.merge(settings(), {"use_kl_in_reward": True}))
    with pytest.raises(UnknownNameError, match="Did you mean 'format'"):
        verls_advantages(scored, settings(weights={"formats": 1.0}))
    with pytest.raises(UnknownNameError, match="option of normalizer 'gdpo'"):
        verls_advantages(scored, settings(options={"epsilon": 1.0}))
    with pytest.raises(OptionError, match="leave one out"):
        verls_advantages(scored, settings(normalizer="grpo"))
    with pytest.raises(OptionError, match=r"algorithm\.gdpo_bench: wieghts"):
        verls_advantages(scored, settings(wieghts={}))
    mixed = dict(scored.non_tensor_batch)
    mixed["data_source"] = np.array([ENV] * 23 + ["gdpo/MathMini-v1"], object)
    with pytest.raises(IntegrationError, match="Data of 2 environments were not written for one training"):
        verls_advantages(DataProto(scored.batch.clone(), mixed), settings())


@pytest.fixture(scope="module")
def queued(scored):
    """The same batch in verl's TransferQueue, as the agent loop of its default trainer puts it there; and the queue."""
    ray = pytest.importorskip("ray")
    transfer_queue = pytest.importorskip("transfer_queue", reason="TransferQueue is not installed")
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    keys, fields = [], []
    rewards = [key for key in scored.non_tensor_batch if key == "score" or key.startswith("reward/")]
    for i, length in enumerate(lengths(scored).tolist()):
        row = {key: values[i] for key, values in scored.non_tensor_batch.items()}
        output = AgentLoopOutput(
            prompt_ids=scored.batch["prompts"][i].tolist(),
            response_ids=scored.batch["responses"][i, :length].tolist(),
            response_mask=[1] * length,
            reward_score=float(row["score"]),
            metrics=AgentLoopMetrics(),
            extra_fields={"reward_extra_info": {key: float(row[key]) for key in rewards}},
        )
        columns = {key: row[key] for key in ("uid", "data_source", "extra_info", "reward_model")}
        keys.append(f"{row['uid']}_{i % GROUP}_0")
        fields.append(output.as_dict() | columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # it would leave a token in the home folder
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
        storage = {"SimpleStorage": {"num_data_storage_units": 1, "total_storage_size": 1000}}
        transfer_queue.init(OmegaConf.create({"backend": {"storage_backend": "SimpleStorage", **storage}}))
        transfer_queue.kv_batch_put(keys=keys, partition_id="train", fields=list_of_dict_to_tensordict(fields))
        yield transfer_queue, transfer_queue.KVBatchMeta(partition_id="train", keys=keys, tags=[{} for _ in keys])
        transfer_queue.close()
        ray.shutdown()


def default_trainer(config, **algorithm):
    """verl's default trainer as far as it computes advantages: without models, which need a GPU."""
    from verl.trainer.ppo.v1 import PPOTrainerSync

    trainer = PPOTrainerSync.__new__(PPOTrainerSync)
    trainer.config = copy.deepcopy(config)
    with open_dict(trainer.config.algorithm) as section:
        section.update(algorithm)
    return trainer


def test_the_default_trainer_shows_the_rewards_that_lie_in_its_queue(queued, config, scored, expected):
    queue, batch = queued
    default_trainer(config)._compute_advantage(batch, metrics={})
    found = queue.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=["advantages", "returns"])
    specs = make_env(ENV).reward_specs
    ours = compute_advantages("gdpo", expected, np.repeat(np.arange(PROMPTS), GROUP), specs=specs).float()
    for i, advantages in enumerate(found["advantages"].unbind()):
        assert torch.equal(advantages, ours[i].expand(int(lengths(scored)[i])))
    assert ours.abs().max() > 0.1


def test_verls_own_gdpo_lacks_its_inputs_in_the_default_trainer(queued, config):
    """Why we look into the queue ourselves. Once verl has mended this, `estimators` may need less."""
    keys = [f"reward/{name}" for name in names()]
    trainer = default_trainer(config, adv_estimator="gdpo", gdpo_reward_keys=keys)
    with pytest.raises(KeyError, match='key "prompts" not found'):
        trainer._compute_advantage(queued[1], metrics={})


def test_verls_workers_know_the_estimators_by_the_ready_configuration(queued, config):
    import ray

    @ray.remote(num_cpus=0, runtime_env=OmegaConf.to_container(config.ray_kwargs.ray_init.runtime_env))
    def known():
        import verl  # noqa: F401
        from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

        return sorted(name for name in ADV_ESTIMATOR_REGISTRY if name.startswith("gdpo_bench/"))

    assert ray.get(known.remote()) == [f"gdpo_bench/{name}" for name in list_normalizers()]


def test_weights_of_the_score_come_from_verls_configuration(config, scored):
    from verl.trainer.ppo.reward import get_custom_reward_fn

    changed = copy.deepcopy(config)
    with open_dict(changed.reward.custom_reward_function) as section:
        section.reward_kwargs = {"weights": {"format": 10.0}}
    row = {key: values[0] for key, values in scored.non_tensor_batch.items()}
    task, reply = row["reward_model"]["ground_truth"], make_env(ENV).reference(make_env(ENV).tasks("train")[0])
    arguments = {"data_source": ENV, "solution_str": reply, "ground_truth": task, "extra_info": row["extra_info"]}
    plain, weighted = (asyncio.run(get_custom_reward_fn(own)(**arguments)) for own in (config, changed))
    assert weighted["score"] - plain["score"] == pytest.approx(9 * plain["reward/format"])
    assert plain["reward/format"] == 1


def test_verls_import_path_registers_the_estimators():
    code = (
        "import verl; from verl.trainer.ppo.core_algos import get_adv_estimator_fn as f; print(f('gdpo_bench/gd2po'))"
    )
    environ = os.environ | {"VERL_USE_EXTERNAL_MODULES": "gdpo_bench.integrations.verl.estimators"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ)
    assert "gd2po" in done.stdout
    assert get_adv_estimator_fn("gdpo_bench")
