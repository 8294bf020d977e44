"""Numbers that the paper, its code and arithmetic by hand give."""

import pytest
import torch

from gdpo_bench.advantages import GDPO, GRPO, compute_advantages, make_normalizer
from gdpo_bench.core import RewardSpec

SPECS = (RewardSpec("format", 0, 1, weight=0.5), RewardSpec("correct", -3, 3, weight=2.0))


def advantages(normalizer, rewards, groups=None, **kwargs):
    return compute_advantages(normalizer, rewards, groups or [0] * len(rewards), **kwargs).tolist()


def close(*values, tolerance=5e-5):
    return pytest.approx(values, abs=tolerance)


def test_grpo_gives_the_same_advantages_to_sums_of_one_and_two():
    assert advantages("grpo", [[0, 0], [0, 1]]) == close(-0.7071, 0.7071)
    assert advantages("grpo", [[0, 0], [1, 1]]) == close(-0.7071, 0.7071)


def test_gdpo_before_whitening_tells_sums_of_one_and_two_apart():
    assert advantages("gdpo_no_bn", [[0, 0], [0, 1]]) == close(-0.7071, 0.7071)
    assert advantages("gdpo_no_bn", [[0, 0], [1, 1]]) == close(-1.4142, 1.4142)


def test_whitening_two_groups_keeps_them_apart():
    rewards = [[0, 0], [0, 1], [0, 0], [1, 1]]
    assert advantages("gdpo", rewards, [0, 0, 1, 1]) == close(-0.5477, 0.5477, -1.0954, 1.0954)


def test_whitening_a_single_group_erases_the_difference():
    assert advantages("gdpo", [[0, 0], [0, 1]]) == close(-0.7071, 0.7071)
    assert advantages("gdpo", [[0, 0], [1, 1]]) == close(-0.7071, 0.7071)


def test_dr_grpo_only_centres():
    assert advantages("grpo_no_std", [[0, 0], [0, 1], [1, 1]]) == close(-1, 0, 1)


def test_grpo_weights_rewards_and_gdpo_weights_advantages():
    rewards = [[0, 0], [1, 0], [0, 10]]
    weights = [1, 0.1]
    assert advantages("grpo", rewards, weights=weights) == close(-1.1547, 0.5773, 0.5773)
    assert advantages("gdpo_no_bn", rewards, weights=weights) == close(-0.6351, 1.0970, -0.4619)


def test_grpo_scaled_divides_by_the_declared_range():
    rewards = [[0, -3], [1, -3], [0, 3]]
    assert advantages("grpo_scaled", rewards, specs=SPECS, weights=[1, 1]) == close(-1.1547, 0.5773, 0.5773)
    assert advantages("grpo", rewards, specs=SPECS, weights=[1, 1]) == close(-0.7259, -0.4148, 1.1406)


@pytest.mark.parametrize("normalizer", ["grpo", "gdpo_no_bn"])
def test_a_missing_reward_is_left_out(normalizer):
    found = advantages(normalizer, [[1], [1], [0], [0]], applicable=[[True], [True], [True], [False]])
    assert found == close(0.5773, 0.5773, -1.1547, 0)


@pytest.mark.parametrize("normalizer", [GRPO(missing="zero"), GDPO(batch_norm=False, missing="zero")])
def test_a_missing_reward_can_be_taken_as_zero(normalizer):
    found = advantages(normalizer, [[1], [1], [0], [0]], applicable=[[True], [True], [True], [False]])
    assert found == close(0.8660, 0.8660, -0.8660, -0.8660)


def test_missing_and_failed_rewards_have_policies_of_their_own():
    rewards, mask = [[1.0], [0.0], [5.0]], [[False], [False], [True]]
    assert advantages(GDPO(batch_norm=False), rewards, failed=mask) == close(0.7071, -0.7071, 0)
    assert advantages(GDPO(batch_norm=False, failed="zero"), rewards, failed=mask) == close(1.1547, -0.5773, -0.5773)
    assert advantages(GDPO(batch_norm=False, missing="zero"), rewards, failed=mask) == close(0.7071, -0.7071, 0)


def test_an_absent_component_is_neutral_in_a_sum():
    applicable = [[True, True], [True, False], [True, True]]
    found = advantages("grpo_no_std", [[0, 0], [1, 9], [2, 4]], applicable=applicable)
    assert found == close(-3, 0, 3)


def test_equal_weights_and_a_constant_sum_cancel_but_unequal_weights_do_not():
    rewards = [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert advantages("gdpo", rewards) == [0, 0, 0, 0]
    assert advantages("grpo", rewards) == [0, 0, 0, 0]
    assert advantages("gdpo_no_bn", rewards, weights=[2, 1]) == close(0.8660, -0.8660, 0.8660, -0.8660)


def test_an_added_epsilon_breaks_scale_invariance_on_tiny_rewards():
    tiny = [[0.0], [0.0], [0.0], [0.001]]
    assert max(advantages("grpo", tiny)) == pytest.approx(1.5, abs=4e-3)
    assert max(advantages(make_normalizer("grpo", eps=1e-4), tiny)) == pytest.approx(1.25, abs=1e-3)


def test_weights_by_name_fill_up_from_the_specs():
    rewards = [[0, 0], [1, 3], [0, 3]]
    by_name = advantages("gdpo", rewards, specs=SPECS, weights={"correct": 1})
    assert by_name == advantages("gdpo", rewards, weights=[0.5, 1])
    assert advantages("gdpo", rewards, specs=SPECS) == advantages("gdpo", rewards, weights=[0.5, 2])


def test_uneven_groups_in_any_order_agree_with_groups_by_themselves():
    rewards = torch.rand(9, 3, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([5, -2, 5, 9, -2, 5, 9, 5, 7])
    whole = compute_advantages("gdpo_no_bn", rewards, groups)
    for group in groups.unique():
        rows = groups == group
        torch.testing.assert_close(whole[rows], compute_advantages("gdpo_no_bn", rewards[rows], groups[rows]))
    assert whole[8] == 0
