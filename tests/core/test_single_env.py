from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import mo_gymnasium
import mo_gymnasium.wrappers.vector
import numpy as np
import pytest

import gdpo_bench
from gdpo_bench.core import DeclarationError, ReplyError, Task, TextEnv, UnknownNameError, reward, split_by_content

ID = "test/Numbers-v0"


class Numbers(TextEnv[Task]):
    def tasks(self, split: str) -> Sequence[Task]:
        return split_by_content((Task(str(n)) for n in range(30)), split)

    @reward(low=0, high=1)
    def correct(self, task: Task, reply: str) -> float:
        return float(reply == task.prompt)

    @reward(low=-3, high=3)
    def length(self, task: Task, reply: str) -> float | None:
        return min(3.0, len(reply)) if reply else None


@pytest.fixture(autouse=True)
def registered(clean_registry: None) -> None:
    gdpo_bench.register(ID, Numbers)


def test_gymnasium_makes_one_rollout_with_a_vector_reward() -> None:
    env = gym.make(ID)
    observation, info = env.reset(seed=0)
    assert info["messages"] == [{"role": "user", "content": observation}]
    after, rewards, terminated, truncated, info = env.step(observation)
    assert (after, terminated, truncated) == ("", True, False)
    assert rewards.dtype == np.float64
    assert rewards.tolist() == [1, len(observation)]
    assert info["reward_components"] == {"correct": 1.0, "length": float(len(observation))}
    assert info["applicable"].tolist() == [True, True]
    assert info["failed"].tolist() == [False, False]
    assert info["raw"].tolist() == rewards.tolist()


def test_reward_space_follows_mo_gymnasium() -> None:
    env = mo_gymnasium.make(ID)
    assert env.unwrapped.reward_dim == 2
    assert env.unwrapped.reward_space.contains(np.array([1.0, -3.0]))
    assert not env.unwrapped.reward_space.contains(np.array([1.1, 0.0]))


def test_same_seed_brings_the_tasks_that_the_vector_environment_brings() -> None:
    env = gym.make(ID)
    venv = gdpo_bench.make_vec(ID, num_prompts=5, group_size=1)
    assert (env.reset(seed=4)[0], *(env.reset()[0] for _ in range(4))) == venv.reset(seed=4)[0]


def test_task_can_be_chosen() -> None:
    env = gym.make(ID)
    task = env.unwrapped.tasks[7]
    observation, info = env.reset(options={"task_id": task.id})
    assert (observation, info["task_id"]) == (task.prompt, task.id)
    with pytest.raises(UnknownNameError, match="Unknown task id 'nonsense'"):
        env.reset(options={"task_id": "nonsense"})


def test_split_and_options_are_passed_on() -> None:
    assert len(gym.make(ID, split="eval").unwrapped.tasks) < len(gym.make(ID).unwrapped.tasks)
    with pytest.raises(UnknownNameError, match="option of test/Numbers-v0 'colour'"):
        gym.make(ID, colour="red")


def test_reply_must_be_a_text() -> None:
    env = gym.make(ID)
    env.reset(seed=0)
    with pytest.raises(ReplyError, match=r"test/Numbers-v0: reply 0 must be a text; got int"):
        env.step(5)
    with pytest.raises(gym.error.ResetNeeded):
        gym.make(ID).unwrapped.step("a")


@pytest.mark.parametrize("reply", ["", "\ud800", "\x00", "x" * 1_000_000])
def test_any_text_is_a_legal_reply(reply: str) -> None:
    env = gym.make(ID)
    env.reset(seed=0)
    assert np.isfinite(env.step(reply)[1]).all()


def test_rewards_are_a_fresh_array_each_time() -> None:
    """MO-Gymnasium's MOClipReward changes the array that it is given."""
    env = mo_gymnasium.wrappers.MOClipReward(gym.make(ID), idx=1, min_r=-1, max_r=1)
    env.reset(seed=0)
    _, rewards, _, _, info = env.step("abc")
    assert rewards[1] == 1
    assert info["raw"][1] == info["reward_components"]["length"] == 3


def test_a_step_after_the_end_asks_for_reset() -> None:
    env = gym.make(ID)
    env.reset(seed=0)
    env.step("1")
    with pytest.raises(gym.error.ResetNeeded, match=r"over; reset\(\)"):
        env.step("1")
    venv = gdpo_bench.make_vec(ID, 1, 2)
    venv.reset(seed=0)
    venv.step(["1", "2"])
    with pytest.raises(gym.error.ResetNeeded, match=r"all episodes are over; reset\(\)"):
        venv.step(["1", "2"])


def test_num_envs_of_gymnasium_says_what_to_type() -> None:
    with pytest.raises(gdpo_bench.GdpoBenchError, match=r"num_prompts=4, group_size=1\), or gymnasium\.make_vec"):
        gdpo_bench.make_vec(ID, num_envs=4)


SCALAR = {
    "sync": lambda: gym.make_vec(ID, num_envs=4, vectorization_mode="sync"),
    "async": lambda: gym.make_vec(ID, num_envs=4, vectorization_mode="async"),
    "SyncVectorEnv": lambda: gym.vector.SyncVectorEnv([lambda: gym.make(ID)] * 3),
    "vector statistics": lambda: gym.wrappers.vector.RecordEpisodeStatistics(gdpo_bench.make_vec(ID)).reset(),
    "vector NormalizeReward": lambda: gym.wrappers.vector.NormalizeReward(gdpo_bench.make_vec(ID)).reset(),
    "NormalizeReward": lambda: stepped(gym.wrappers.NormalizeReward(gym.make(ID))),
}


def stepped(env: gym.Env[str, str]) -> Any:
    env.reset(seed=0)
    return env.step("7")


@pytest.mark.parametrize("name", SCALAR)
def test_what_takes_one_number_a_rollout_is_refused_with_what_takes_vectors(name: str) -> None:
    with pytest.raises(DeclarationError, match=rf"{ID} gives a vector of rewards, and gymnasium's .*mo_gymnasium"):
        SCALAR[name]()


def test_what_takes_vectors_works() -> None:
    vectors = mo_gymnasium.wrappers.vector
    rollouts = vectors.MOSyncVectorEnv([lambda: mo_gymnasium.make(ID)] * 3)
    rollouts.reset(seed=0)
    assert rollouts.step(["7"] * 3)[1].shape == (3, 2)
    groups = vectors.MORecordEpisodeStatistics(gdpo_bench.make_vec(ID, 1, 4))
    groups.reset(seed=0)
    assert groups.step(["7"] * 4)[4]["episode"]["r"].tolist() == [[0, 1]] * 4
    assert stepped(gym.wrappers.RecordEpisodeStatistics(gym.make(ID)))[4]["episode"]["r"].tolist() == [0, 1]
    assert stepped(mo_gymnasium.wrappers.MONormalizeReward(mo_gymnasium.make(ID), 0))[1].shape == (2,)
    assert stepped(mo_gymnasium.wrappers.LinearReward(mo_gymnasium.make(ID), np.ones(2)))[1] == 1


@pytest.mark.parametrize(("arguments", "written"), [({}, "4, group_size=1"), ({"group_size": 2}, "2, group_size=2")])
def test_num_envs_is_shared_out_in_the_groups_that_are_asked_for(arguments: dict[str, Any], written: str) -> None:
    with pytest.raises(DeclarationError, match=f"num_prompts={written}"):
        gdpo_bench.make_vec(ID, num_envs=4, **arguments)


def test_make_is_said_to_be_gymnasiums() -> None:
    with pytest.raises(AttributeError, match=r"gymnasium\.make\(id\) makes one rollout"):
        gdpo_bench.make(ID)
