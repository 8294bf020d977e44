"""What Bits promises: rewards as designed, pure, and learnable from its own demonstrations."""

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import pytest
from gdpo_envs.bits.env import Bits, BitsTask

from gdpo_bench.core import make_env, make_vec
from gdpo_bench.core.scoring import Scores, score
from gdpo_bench.jobs.job import check
from gdpo_bench.jobs.plan import plan


def scored(env: Bits, replies: list[str], number: str = "352") -> Scores:
    return score(env, "bits", [BitsTask(f"{number}\n", number)] * len(replies), replies)


def demonstrations(env: Bits, count: int) -> Iterator[tuple[BitsTask, str]]:
    return islice(env.demonstrations(Random(0)), count)


def test_a_copy_earns_the_large_reward_and_each_mark_its_own() -> None:
    values = scored(Bits(rewards=3), ["352", "35211", "35201", "35011", "", "352١1", "35211 and more"]).values
    assert values.tolist() == [[6, 0, 0], [6, 1, 1], [6, 0, 1], [0, 1, 1], [0, 0, 0], [6, 0, 1], [6, 1, 1]]


def test_the_first_mark_costs_what_the_conflict_says() -> None:
    values = scored(Bits(conflict=0.05), ["3520", "3521", "1111"]).values
    assert values == pytest.approx(np.array([[6, 0], [5.7, 1], [-0.3, 1]]))


def test_marks_count_only_behind_a_copy_when_gated() -> None:
    assert scored(Bits(gated=True), ["3521", "3501"]).values.tolist() == [[6, 1], [0, 0]]
    assert scored(Bits(gated=True, conflict=0.1), ["3521", "3501"]).values[:, 1].tolist() == [1, 0]


def test_noise_is_a_function_of_the_whole_reply_and_has_its_size() -> None:
    env = Bits(noise=0.3)
    replies = [f"3521{n:03}" for n in range(1000)]
    values = scored(env, replies).raw
    assert np.array_equal(values, scored(Bits(noise=0.3), replies).raw)
    assert values.mean(axis=0).tolist() == pytest.approx([6, 1], abs=0.2)
    assert values.std(axis=0).tolist() == pytest.approx([1.8, 0.3], rel=0.1)
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.1


def test_a_small_reward_applies_to_its_share_of_tasks_and_the_large_one_to_all() -> None:
    env = Bits(rewards=3, applicable=0.5)
    tasks = list(env.tasks("train"))
    applicable = score(env, "bits", tasks, [""] * len(tasks)).applicable
    assert applicable.mean(axis=0).tolist() == pytest.approx([1, 0.5, 0.5], abs=0.06)
    assert 0.4 < (applicable[:, 1] == applicable[:, 2]).mean() < 0.6


@pytest.mark.parametrize("rewards", range(1, 9))
def test_references_earn_full_marks_whatever_the_number_of_rewards(rewards: int) -> None:
    env = Bits(rewards=rewards)
    task = env.tasks("eval")[0]
    values = score(env, "bits", [task], [str(env.reference(task))]).values
    assert values.tolist() == [[spec.high for spec in env.reward_specs]]


@pytest.mark.parametrize("options", [{"conflict": 0.1}, {"noise": 0.1}])
def test_where_no_reply_earns_all_there_is_no_reference(options: dict[str, Any]) -> None:
    env = Bits(**options)
    assert env.reference(env.tasks("eval")[0]) is None


def test_demonstrations_earn_rewards_as_often_as_designed_and_only_of_training_numbers() -> None:
    env = Bits(rewards=2, rarity=0.1, common=0.4, correlation=-0.6)
    shown = list(demonstrations(env, 4000))
    assert {task.number for task, _ in shown} <= {task.number for task in env.tasks("train")}
    earned = score(env, "bits", [task for task, _ in shown], [reply for _, reply in shown]).values > 0
    assert earned.mean(axis=0).tolist() == pytest.approx([0.4, 0.1], abs=0.02)
    assert earned.all(axis=1).mean() < 0.01  # independent: .04


def test_splits_share_no_number() -> None:
    env = Bits()
    train, held_out = ({task.number for task in env.tasks(split)} for split in ("train", "eval"))
    assert not train & held_out
    assert len(train | held_out) == 9**3
    assert len(held_out) > 100


def test_it_is_registered_with_its_options() -> None:
    env = make_vec("gdpo/Bits-v0:rewards=4,scale=2", num_prompts=1, group_size=2)
    (prompt, *_), _ = env.reset(seed=0)
    assert env.step([prompt.strip() + "110", ""])[1].tolist() == [[2, 1, 1, 0], [0, 0, 0, 0]]


def test_a_policy_imitates_bits_alone_and_other_warm_starts_do_not_change() -> None:
    """Options of Bits decide what its policy can do at the start; the Mini ones teach nothing for it."""
    both = plan(check({"envs": ["gdpo/Bits-v0:rarity=0.1", "gdpo/MathMini-v1"]}))
    alone = plan(check({"envs": ["gdpo/MathMini-v1"]}))
    bits, mini = both.envs
    assert [(choice.id, choice.options) for choice in both.warm_start_envs(bits)] == [("gdpo/Bits-v0", {"rarity": 0.1})]
    assert both.warm_start_envs(mini) == alone.warm_start_envs(alone.envs[0])
    assert isinstance(make_env("gdpo/Bits-v0"), Bits)
