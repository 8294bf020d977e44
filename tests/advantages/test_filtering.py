"""Dynamic sampling that looks at vectors."""

import pytest
import torch

from gdpo_bench.advantages import BatchError, compute_advantages, keep_groups, keep_groups_by_sum

# Group 0 trades one reward against another, with a constant sum; group 1 is constant; group 2 is not.
REWARDS = [
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, 0.5, 0.5],
    [0.9, 0.9, 0.9],
    [0.9, 0.9, 0.9],
    [1.0, 1.0, 1.0],
    [0.0] * 3,
]
GROUPS = [0, 0, 0, 1, 1, 2, 2]


def test_groups_with_equal_sums_but_different_vectors_are_kept():
    advantages = compute_advantages("gdpo", REWARDS, GROUPS)
    assert keep_groups(advantages, GROUPS).tolist() == [True] * 3 + [False] * 2 + [True] * 2
    assert keep_groups_by_sum(REWARDS, GROUPS).tolist() == [False] * 5 + [True] * 2


def test_a_single_small_advantage_keeps_its_group_and_no_other():
    advantages = torch.tensor([0.0, 0.0, 0.0, 1e-12, -1.0, 0.0])
    assert keep_groups(advantages, [0, 0, 1, 1, 2, 2]).tolist() == [False] * 2 + [True] * 4
    assert keep_groups(-advantages, [0, 1, 0, 1, 0, 1]).tolist() == [True] * 6
    assert keep_groups(torch.zeros(3), [0, 0, 1]).tolist() == [False] * 3


def test_weights_and_masks_enter_the_filter_by_sums():
    assert keep_groups_by_sum(REWARDS, GROUPS, weights=[2, 1, 1])[:3].all()
    applicable = torch.ones(7, 3, dtype=torch.bool)
    applicable[5:] = False
    assert not keep_groups_by_sum(REWARDS, GROUPS, applicable=applicable).any()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(BatchError, match=r"one shape \(N,\); got \(3,\) and \(2,\)"):
        keep_groups(torch.zeros(3), [0, 1])
