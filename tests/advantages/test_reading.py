"""Python takes what command lines take, and what other frameworks have."""

import numpy as np
import pytest
import torch

from gdpo_bench.advantages import OptionError, compute_advantages, make_batch, make_normalizer
from gdpo_bench.core import RewardSpec, UnknownNameError
from gdpo_bench.core.choices import ChoiceError

REWARDS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
SPECS = [RewardSpec("format", 0, 1), RewardSpec("correct", 0, 1, weight=3.0)]


def test_a_text_brings_options_and_weights():
    by_text = compute_advantages("grpo:ddof=0,eps=0.01", REWARDS, [0] * 4)
    assert torch.equal(by_text, compute_advantages(make_normalizer("grpo", ddof=0, eps=0.01), REWARDS, [0] * 4))
    weighted = compute_advantages("gdpo:weights.format=2", REWARDS, [0] * 4, specs=SPECS)
    assert torch.equal(weighted, compute_advantages("gdpo", REWARDS, [0] * 4, weights=[2, 3]))
    other = compute_advantages("gdpo:weights.format=2", REWARDS, [0] * 4, specs=SPECS, weights=[1, 1])
    assert torch.equal(other, compute_advantages("gdpo", REWARDS, [0] * 4))
    assert torch.equal(
        compute_advantages("gdpo:preset=trl", REWARDS, [0] * 4),
        compute_advantages(make_normalizer("gdpo", preset="trl"), REWARDS, [0] * 4),
    )


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("gdpo:eps=", OptionError, "eps"),
        ("gdpo:eps=1,2", ChoiceError, "expected option=value; got '2'"),
        ("gdpo:epsilon=1", UnknownNameError, "Known: .*eps"),
        ("gpdo:eps=1", UnknownNameError, "Unknown normalizer 'gpdo'. Did you mean .*'gdpo'"),
        ("gdpo:weights.formats=1", UnknownNameError, "Did you mean 'format'"),
    ],
)
def test_a_text_that_cannot_be_is_explained(text, error, message):
    with pytest.raises(error, match=message):
        compute_advantages(text, REWARDS, [0] * 4, specs=SPECS)


@pytest.mark.parametrize("kind", [list, lambda rows: np.array(rows, dtype=object)])
def test_none_is_a_reward_that_is_not_applicable(kind):
    rewards = kind([[1, None], [0.0, 1.0], [1.0, 0.0], [None, None]])
    applicable = [[True, False], [True, True], [True, True], [False, False]]
    masked = compute_advantages("gdpo", [[1, 0], [0, 1], [1, 0], [0, 0]], [0] * 4, applicable=applicable)
    assert torch.equal(compute_advantages("gdpo", rewards, [0] * 4), masked)
    batch = make_batch(rewards, [0] * 4, applicable=[[True, True], [False, True], [True, True], [True, True]])
    assert batch.applicable.tolist() == [[True, False], [False, True], [True, True], [False, False]]
    assert batch.rewards.dtype == torch.float64


def test_lists_of_mixed_numbers_are_exact():
    assert make_batch([[1, 0], [0.1, 1]], [0, 0]).rewards[1, 0].item() == 0.1
    assert make_batch([[1, 0], [0.1, 1]], [0, 0]).dtype == torch.float64


def test_zero_dimensional_tensors_are_rewards():
    rewards = [[torch.tensor(1.0), torch.tensor(0.25)], [torch.tensor(0.0), None]]
    assert make_batch(rewards, [0, 0]).rewards.tolist() == [[1.0, 0.25], [0.0, 0.0]]
    assert make_batch([torch.tensor([1.0, 0.5]), torch.tensor([0.0, 2.0])], [0, 0]).rewards.tolist() == [
        [1, 0.5],
        [0, 2],
    ]


@pytest.mark.parametrize("groups", [["q2", "q2", "q10", "q10"], np.array(["b", "b", "a", "a"]), ("", "", "x", "x")])
def test_ids_of_groups_may_be_texts(groups):
    expected = compute_advantages("gdpo", REWARDS, [0, 0, 1, 1])
    assert torch.equal(compute_advantages("gdpo", REWARDS, groups), expected)


def test_texts_may_lie_apart():
    found = compute_advantages("gdpo", REWARDS, ["x", "y", "x", "y"])
    assert torch.equal(found, compute_advantages("gdpo", REWARDS, [0, 1, 0, 1]))


def test_names_make_weights_by_name_without_declarations():
    names = ["format", "correct"]
    found = compute_advantages("gdpo", REWARDS, [0] * 4, names=names, weights={"correct": 3})
    assert torch.equal(found, compute_advantages("gdpo", REWARDS, [0] * 4, weights=[1, 3]))
    with pytest.raises(UnknownNameError, match="Did you mean 'correct'"):
        compute_advantages("gdpo", REWARDS, [0] * 4, names=names, weights={"corect": 3})


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
def test_rewards_of_groups_of_one_size_need_no_ids(kind):
    cube = [REWARDS[:2], REWARDS[2:]]
    rest = {"lengths": [[1, 2], [3, 4]], "applicable": [[[True, True], [True, False]], [[True, True]] * 2]}
    found = compute_advantages("opo", kind(cube), **rest)
    flat = {"lengths": [1, 2, 3, 4], "applicable": [[True, True], [True, False], [True, True], [True, True]]}
    expected = compute_advantages("opo", REWARDS, [0, 0, 1, 1], **flat)
    assert found.shape == (2, 2)
    torch.testing.assert_close(found.flatten().double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("groups", [[5, 3], ["a", "b"], [[1, 1], [0, 0]]])
def test_ids_may_stand_beside_rewards_by_group(groups):
    cube = [REWARDS[:2], REWARDS[2:]]
    assert torch.equal(compute_advantages("gdpo", cube, groups), compute_advantages("gdpo", cube))


def test_none_may_stand_in_rewards_by_group():
    found = compute_advantages("gdpo", [[[1.0, None], [0.0, 1.0]], [[1.0, 0.0], [0.0, None]]])
    applicable = [[True, False], [True, True], [True, True], [True, False]]
    expected = compute_advantages("gdpo", [[1.0, 0], [0, 1], [1, 0], [0, 0]], [0, 0, 1, 1], applicable=applicable)
    assert torch.equal(found.flatten(), expected)
