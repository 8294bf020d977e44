"""What the advantages of a batch can tell apart."""

import json

import numpy as np
import pytest
import torch

from gdpo_bench.advantages import compute_advantages, diagnose

# Sums 1, 1, 2, 2 in one group: GRPO sees two kinds of rollout where there are three.
REWARDS = [[1, 0], [0, 1], [1, 1], [1, 1]]


def diagnostics(normalizer, rewards, groups, **kwargs):
    advantages = compute_advantages(normalizer, rewards, groups, **kwargs)
    masks = {key: value for key, value in kwargs.items() if key in ("applicable", "failed")}
    return diagnose(advantages, rewards, groups, **masks)


def test_rollouts_with_different_vectors_and_one_advantage_are_collapsed():
    assert diagnostics("grpo", REWARDS, [0] * 4).collapsed_rollouts == 2
    weighted = diagnostics("gdpo", REWARDS, [0] * 4, weights=[2, 1])
    assert (weighted.collapsed_rollouts, weighted.distinct_levels) == (0, 3)


def test_equal_vectors_are_not_collapsed_and_other_groups_do_not_count():
    assert diagnostics("grpo", [[1, 0], [0, 0], [0, 1], [0, 0]], [0, 0, 1, 1]).collapsed_rollouts == 0


def test_groups_without_signal_are_counted():
    found = diagnostics("gdpo", [[1.0], [1.0], [0.0], [1.0], [0.9], [0.9]], [3, 3, 1, 1, 2, 2])
    assert (found.groups, found.zero_signal_groups) == (3, 2)
    assert found.zero_signal_share == pytest.approx(2 / 3)
    assert found.distinct_levels == 3


def test_levels_are_distinct_beyond_rounding():
    noisy = torch.tensor([1.0, 1.0 + 1e-7, 0.5, 0.5 - 1e-7, 0.0])
    assert diagnose(noisy, torch.zeros(5, 1), [0] * 5).distinct_levels == 3
    assert diagnose(noisy * 1e-6, torch.zeros(5, 1), [0] * 5).distinct_levels == 3
    assert diagnose(np.zeros(4), np.zeros((4, 2)), np.arange(4)).distinct_levels == 1


def test_an_absent_reward_makes_another_vector():
    applicable = np.array([[True], [False]])
    assert diagnose([0.0, 0.0], [[0.0], [5.0]], [0, 0], applicable=applicable).collapsed_rollouts == 2
    assert diagnose([0.0, 0.0], [[0.0], [5.0]], [0, 0], failed=np.array([[True], [True]])).collapsed_rollouts == 0


def test_they_are_plain_numbers():
    as_dict = diagnostics("gdpo", REWARDS, [0] * 4).as_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
