"""What every registered environment must hold, whoever wrote it."""

import json
import pickle
import random
from collections.abc import Callable
from itertools import islice
from typing import Any

import gymnasium as gym
import mo_gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from mo_gymnasium.wrappers import LinearReward, MORecordEpisodeStatistics
from mo_gymnasium.wrappers.vector import MOSyncVectorEnv

import gdpo_bench
from gdpo_bench.core import TextEnv, make_env

NEED_DATA = {"gdpo/GSM8K-v0"}


@pytest.fixture(params=gdpo_bench.list_envs())
def env_id(request: pytest.FixtureRequest) -> str:
    id: str = request.param
    if id in NEED_DATA:
        request.getfixturevalue("data_dir")
    return id


@pytest.fixture
def env(env_id: str) -> TextEnv[Any]:
    return make_env(env_id)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
def test_gymnasiums_checker_passes_through_linear_reward(env_id: str) -> None:
    env = gym.make(env_id)
    check_env(LinearReward(env, np.ones(env.unwrapped.reward_dim)), skip_render_check=True)


def test_mo_gymnasium_records_episodes(env_id: str) -> None:
    env = MORecordEpisodeStatistics(mo_gymnasium.make(env_id), gamma=1.0)
    env.reset(seed=0)
    total, over = np.zeros(env.unwrapped.reward_dim), False
    while not over:
        _, rewards, terminated, truncated, info = env.step("hello")
        total, over = total + rewards, terminated or truncated
    np.testing.assert_allclose(info["episode"]["r"], total)


def test_mo_gymnasium_steps_copies_side_by_side(env_id: str) -> None:
    venv = MOSyncVectorEnv([lambda: mo_gymnasium.make(env_id) for _ in range(3)])
    observations, _ = venv.reset(seed=0)
    assert len(observations) == 3
    _, rewards, _, _, _ = venv.step(("", "a", "\ud800"))
    alone = []
    for seed, reply in enumerate(("", "a", "\ud800")):
        env = mo_gymnasium.make(env_id)
        env.reset(seed=seed)
        alone.append(env.step(reply)[1])
    np.testing.assert_allclose(rewards, alone)


def test_splits_share_no_task_and_hold_none_twice(env: TextEnv[Any]) -> None:
    ids = {split: [task.id for task in env.tasks(split)] for split in env.splits}
    prompts = {split: {task.prompt for task in env.tasks(split)} for split in env.splits}
    for split in env.splits:
        assert len(ids[split]) == len(set(ids[split])) > 0
    assert not set(ids["train"]) & set(ids["eval"])
    assert not prompts["train"] & prompts["eval"]


def test_tasks_are_the_same_in_every_instance_and_json_able(env_id: str, env: TextEnv[Any]) -> None:
    for split in env.splits:
        assert [task.id for task in make_env(env_id).tasks(split)] == [task.id for task in env.tasks(split)]
    json.dumps(env.messages(env.tasks("train")[0]))


def test_reference_replies_earn_full_marks_on_all_tasks(env: TextEnv[Any]) -> None:
    if env.max_turns > 1:
        pytest.skip("the reference is a whole dialogue")
    for split in env.splits:
        for task in env.tasks(split):
            reply = env.reference(task)
            assert reply is not None
            for function in env.reward_functions:
                method = getattr(env, function.method)
                value = method([task], [reply])[0] if function.batched else method(task, reply)
                assert value is None or value == function.spec.high, (function.spec.name, task)


@pytest.mark.parametrize(
    "make_reply",
    [
        lambda reference: "",
        lambda reference: "x" * 1_000_000,
        lambda reference: reference * (1_000_000 // max(1, len(reference))),
        lambda reference: "<think>" * 140_000,
        lambda reference: "\ud800\x00\xff\u2028",
        lambda reference: reference[: len(reference) // 2],
    ],
    ids=["empty", "one letter", "repeated reference", "tags", "odd characters", "half"],
)
@pytest.mark.timeout(60)
def test_any_text_is_scored_within_the_declared_range(env_id: str, make_reply: Callable[[str], str]) -> None:
    venv = gdpo_bench.make_vec(env_id, num_prompts=2, group_size=1)
    _, info = venv.reset(seed=0)
    tasks = {task.id: task for task in venv.tasks}
    replies = [make_reply(venv.text_env.reference(tasks[task_id]) or "") for task_id in info["task_id"]]
    _, rewards, _, _, info = venv.step(replies)
    assert not info["failed"].any(), info["failures"]
    assert all(venv.reward_space.contains(row) for row in rewards)


def test_rewards_do_not_depend_on_the_neighbours(env_id: str, env: TextEnv[Any]) -> None:
    replies = ["", "words", env.reference(env.tasks("train")[0]) or "", "<think></think>"]
    options = {"task_ids": [env.tasks("train")[0].id]}
    together = gdpo_bench.make_vec(env_id, 1, 4)
    together.reset(options=options)
    rewards = together.step(replies)[1]
    for reply, row in zip(replies, rewards, strict=True):
        alone = gdpo_bench.make_vec(env_id, 1, 1)
        alone.reset(options=options)
        assert alone.step([reply])[1][0].tolist() == row.tolist()


def test_demonstrations_are_of_training_tasks_and_fixed_by_the_seed(env_id: str, env: TextEnv[Any]) -> None:
    train = {task.id for task in env.tasks("train")}
    one = [(task.id, reply) for task, reply in islice(env.demonstrations(random.Random(0)), 50)]
    other = [(task.id, reply) for task, reply in islice(make_env(env_id).demonstrations(random.Random(0)), 50)]
    assert one == other
    assert {id for id, _ in one} <= train


def test_environments_can_be_pickled_in_the_middle_of_an_episode(env_id: str) -> None:
    venv = gdpo_bench.make_vec(env_id, num_prompts=2, group_size=2)
    venv.reset(seed=0)
    copy = pickle.loads(pickle.dumps(venv))
    replies = ["a"] * 4
    assert copy.step(replies)[1].tolist() == venv.step(replies)[1].tolist()
    assert copy.reset()[0] == venv.reset()[0]


def test_class_documents_itself_and_names_its_data(env: TextEnv[Any]) -> None:
    assert (type(env).__doc__ or "").strip()
    assert env.data_revision() is None or env.data_revision()
    for function in env.reward_functions:
        assert getattr(type(env), function.method).__doc__
