import json
from collections.abc import Callable, Sequence

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

import gdpo_bench
from gdpo_bench.core import (
    DeclarationError,
    GroupVectorEnv,
    Message,
    ReplyError,
    Task,
    TextEnv,
    UnknownNameError,
    reward,
    split_by_content,
)

Vec = Callable[..., GroupVectorEnv]


class Echo(TextEnv[Task]):
    """Say the number."""

    def __init__(self, size: int = 20) -> None:
        self.size = size

    def tasks(self, split: str) -> Sequence[Task]:
        return split_by_content((Task(f"Say {n}") for n in range(self.size)), split, 0.3)

    def messages(self, task: Task) -> list[Message]:
        return [{"role": "system", "content": "Obey."}, {"role": "user", "content": task.prompt}]

    @reward(low=0, high=1, kind="binary")
    def correct(self, task: Task, reply: str) -> bool:
        return task.prompt == f"Say {reply}"

    @reward(low=-3, high=0, kind="penalty")
    def length(self, task: Task, reply: str) -> float:
        return -min(len(reply), 3)

    @reward(low=0, high=1)
    def polite(self, task: Task, reply: str) -> float | None:
        return None if reply == "" else 0.5


def test_rollouts_of_a_prompt_are_adjacent(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=3, group_size=4)
    observations, info = venv.reset(seed=0)
    assert isinstance(venv, VectorEnv)
    assert venv.num_envs == len(observations) == len(info["messages"]) == 12
    assert info["group"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert info["task_id"].shape == (12,)
    for group in range(3):
        assert len(set(info["task_id"][info["group"] == group])) == 1
    assert len(set(info["task_id"])) == 3


def test_observations_show_all_messages_and_messages_are_chat(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=2, group_size=1)
    observations, info = venv.reset(seed=0)
    for observation, messages in zip(observations, info["messages"], strict=True):
        assert [message["role"] for message in messages] == ["system", "user"]
        assert observation == f"Obey.\n\n{messages[1]['content']}"


def test_step_returns_a_reward_vector_for_each_rollout(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=2, group_size=3)
    observations, _ = venv.reset(seed=0)
    replies = [observation.rpartition(" ")[2] if i % 2 else "wrong" for i, observation in enumerate(observations)]
    after, rewards, terminated, truncated, info = venv.step(replies)
    assert after == ("",) * 6
    assert rewards.dtype == np.float64
    assert rewards.shape == (6, 3)
    assert rewards[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert rewards[:, 1].tolist() == [-min(len(reply), 3) for reply in replies]
    assert terminated.tolist() == [True] * 6
    assert truncated.tolist() == [False] * 6
    assert terminated.dtype == truncated.dtype == np.bool_
    assert list(info["reward_components"]) == ["correct", "length", "polite"]
    for k, values in enumerate(info["reward_components"].values()):
        assert values.tolist() == rewards[:, k].tolist()
    for mask in ("applicable", "failed"):
        assert info[mask].shape == (6, 3)
        assert info[mask].dtype == np.bool_
    assert info["raw"].shape == (6, 3)
    assert info["failures"] == []
    assert [messages[-1] for messages in info["messages"]] == [{"role": "assistant", "content": r} for r in replies]


def test_reward_space_and_dimension_are_those_of_the_declarations(vec: Vec) -> None:
    venv = vec(Echo)
    assert venv.reward_dim == 3
    assert venv.reward_space.low.tolist() == [0, -3, 0]
    assert venv.reward_space.high.tolist() == [1, 0, 1]
    assert [spec.name for spec in venv.reward_specs] == ["correct", "length", "polite"]


def test_not_applicable_is_a_mask_and_no_reward(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    _, rewards, _, _, info = venv.step(["", "x"])
    assert info["applicable"].tolist() == [[True, True, False], [True, True, True]]
    assert rewards[:, 2].tolist() == [0, 0.5]
    assert not info["failed"].any()


def test_same_seed_gives_the_same_prompts_and_another_seed_others(vec: Vec) -> None:
    def prompts(seed: int) -> list[list[str]]:
        venv = vec(Echo, num_prompts=4, group_size=2)
        return [venv.reset(seed=seed)[1]["task_id"].tolist(), venv.reset()[1]["task_id"].tolist()]

    assert prompts(1) == prompts(1)
    assert prompts(1) != prompts(2)


def test_seed_starts_over_and_no_seed_goes_on(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=3, group_size=1)
    first = venv.reset(seed=5)[1]["task_id"].tolist()
    second = venv.reset()[1]["task_id"].tolist()
    assert not set(first) & set(second)
    assert venv.reset(seed=5)[1]["task_id"].tolist() == first


@pytest.mark.parametrize("resets", [0, 1, 2, 5])
def test_a_restored_queue_brings_the_tasks_that_the_other_would_have_brought(vec: Vec, resets: int) -> None:
    """In the middle of a pass through the tasks, and over its end."""
    one, other = vec(Echo, num_prompts=3, group_size=2), vec(Echo, num_prompts=3, group_size=2)
    other.reset(seed=8)
    for i in range(resets):
        one.reset(seed=5 if i == 0 else None)
    other.restore_queue(json.loads(json.dumps(one.queue_state())))
    for _ in range(len(one.tasks)):
        assert one.reset()[1]["task_id"].tolist() == other.reset()[1]["task_id"].tolist()
    assert one.queue_state() == other.queue_state()


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_shards_one_after_the_other_are_the_whole(vec: Vec, size: int) -> None:
    whole = vec(Echo, num_prompts=6, group_size=2)
    parts = [vec(Echo, num_prompts=6, group_size=2).shard(rank, size) for rank in range(size)]
    for seed in (7, None, None):
        expected = whole.reset(seed=seed)[1]["task_id"].tolist()
        assert [id for part in parts for id in part.reset(seed=seed)[1]["task_id"]] == expected
    assert all(part.num_envs == 12 // size for part in parts)
    assert all(part.queue_state() == whole.queue_state() for part in parts)


def test_prompts_that_cannot_be_sharded_evenly_are_refused(vec: Vec) -> None:
    with pytest.raises(DeclarationError, match=r"6 prompts cannot be shared evenly by 4 processes; .* multiple of 4"):
        vec(Echo, num_prompts=6).shard(0, 4)


def test_every_task_comes_once_before_any_comes_again(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=1, group_size=2)
    count = len(venv.tasks)
    for _ in range(2):
        seen = {venv.reset()[1]["task_id"][0] for _ in range(count)}
        assert len(seen) == count


def test_more_prompts_than_tasks_go_round(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=50, group_size=1)
    _, info = venv.reset(seed=0)
    assert set(info["task_id"]) == {task.id for task in venv.tasks}


def test_task_ids_choose_the_tasks_in_their_order(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=2, group_size=2)
    chosen = [venv.tasks[3].id, venv.tasks[1].id]
    observations, info = venv.reset(options={"task_ids": chosen})
    assert info["task_id"].tolist() == [chosen[0]] * 2 + [chosen[1]] * 2
    assert observations[0].endswith(venv.tasks[3].prompt)


def test_choosing_tasks_does_not_disturb_the_drawing(vec: Vec) -> None:
    plain, chosen = vec(Echo, 2, 1), vec(Echo, 2, 1)
    plain.reset(seed=3)
    chosen.reset(seed=3)
    chosen.reset(options={"task_ids": [chosen.tasks[0].id] * 2})
    assert plain.reset()[0] == chosen.reset()[0]


def test_task_ids_must_be_as_many_as_prompts_and_known(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=2)
    with pytest.raises(DeclarationError, match=r"test/Env-v0: options\['task_ids'\] must name 2 tasks; got 1"):
        venv.reset(options={"task_ids": [venv.tasks[0].id]})
    with pytest.raises(UnknownNameError, match="Unknown task id 'nonsense'"):
        venv.reset(options={"task_ids": ["nonsense", venv.tasks[0].id]})


def test_split_chooses_the_tasks_and_splits_share_none(vec: Vec) -> None:
    train, held_out = vec(Echo, split="train"), vec(Echo, split="eval")
    assert not {task.id for task in train.tasks} & {task.id for task in held_out.tasks}
    with pytest.raises(UnknownNameError, match=r"split of test/Env-v0 'evaluation'.*Known: eval, train"):
        vec(Echo, split="evaluation")


def test_options_reach_the_environment_and_unknown_ones_do_not(vec: Vec) -> None:
    assert len(vec(Echo, size=50).tasks) > len(vec(Echo, size=20).tasks)
    with pytest.raises(UnknownNameError, match=r"option of test/Env-v0 'sice'. Did you mean 'size'"):
        vec(Echo, sice=50)


def test_split_without_tasks_is_an_error(vec: Vec) -> None:
    with pytest.raises(DeclarationError, match=r"tasks\('train'\) of test/Env-v0 has no tasks"):
        vec(Echo, size=0)


@pytest.mark.parametrize("sizes", [{"num_prompts": 0}, {"group_size": -1}, {"group_size": 1.5}])
def test_sizes_must_be_positive_integers(vec: Vec, sizes: dict[str, int]) -> None:
    with pytest.raises(DeclarationError, match=r"test/Env-v0: .* must be a positive integer; got"):
        vec(Echo, **sizes)


@pytest.mark.parametrize(
    "replies", [["a"], ["a"] * 3, [], "ab", None, 5, ["a", None], ["a", b"b"], [["a"], ["b"]], {"a", "b"}]
)
def test_anything_but_one_text_a_rollout_is_refused(vec: Vec, replies: object) -> None:
    venv = vec(Echo, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    with pytest.raises(ReplyError, match="test/Env-v0"):
        venv.step(replies)  # type: ignore[arg-type]


def test_refused_replies_do_not_end_the_episodes(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    with pytest.raises(ReplyError):
        venv.step(["a"])
    assert venv.step(["a", "b"])[1][:, 2].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("replies", [("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], dtype=object)])
def test_replies_may_come_in_any_sequence(vec: Vec, replies: Sequence[str]) -> None:
    venv = vec(Echo, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    assert venv.step(replies)[1].shape == (2, 3)


@pytest.mark.parametrize("reply", ["", "x" * 1_000_000, "\x00\xff\x1b[0m", "\ud800\udfff", "\u2028🙂", "</s>" * 1000])
def test_any_text_is_a_legal_reply(vec: Vec, reply: str) -> None:
    venv = vec(Echo, num_prompts=1, group_size=1)
    venv.reset(seed=0)
    _, rewards, terminated, _, info = venv.step([reply])
    assert np.isfinite(rewards).all()
    assert terminated.all()
    assert not info["failed"].any()
    assert info["messages"][0][-1]["content"] == reply


def test_step_before_reset_is_refused(vec: Vec) -> None:
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        vec(Echo).step(["a"] * 8)


def test_there_is_no_automatic_reset(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=1, group_size=2)
    assert venv.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    venv.reset(seed=0)
    venv.step(["a", "b"])
    with pytest.raises(gym.error.ResetNeeded, match=r"all episodes are over; reset\(\) begins the next ones"):
        venv.step(["c", "d"])
    assert [conversation[-1]["content"] for conversation in venv.messages] == ["a", "b"]


def test_returned_arrays_are_the_callers_own(vec: Vec) -> None:
    venv = vec(Echo, num_prompts=1, group_size=2)
    _, info = venv.reset(seed=0)
    info["messages"][0][0]["content"] = "changed"
    _, rewards, _, _, info = venv.step(["a", "b"])
    assert info["messages"][0][0]["content"] == "Obey."
    before = {name: values.copy() for name, values in info["reward_components"].items()}
    rewards[:] = 7
    assert (info["raw"] != 7).all()
    for name, values in info["reward_components"].items():
        assert (values == before[name]).all()


def test_gymnasium_makes_the_same_vector_environment(vec: Vec) -> None:
    ours = vec(Echo, num_prompts=2, group_size=3)
    theirs = gym.make_vec("test/Env-v0", num_envs=6, group_size=3)
    assert isinstance(theirs.unwrapped, GroupVectorEnv)
    assert theirs.reset(seed=1)[0] == ours.reset(seed=1)[0]


def test_gymnasium_number_of_environments_must_be_whole_groups(vec: Vec) -> None:
    vec(Echo)
    with pytest.raises(DeclarationError, match=r"num_envs=5 .* group_size=2"):
        gym.make_vec("test/Env-v0", num_envs=5, group_size=2)


def test_shortest_way_makes_eight_rollouts_of_one_prompt(clean_registry: None) -> None:
    gdpo_bench.register("test/Env-v0", Echo)
    assert gdpo_bench.make_vec("test/Env-v0").num_envs == 8
