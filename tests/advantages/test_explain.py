"""Which reward drives the advantages."""

import numpy as np
import pytest

from gdpo_bench.advantages import compute_advantages, explain


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    rewards = np.stack([rng.integers(0, 2, 400), 6.0 * rng.integers(0, 2, 400) - 3], axis=1).astype(float)
    return rewards, np.arange(400) // 8


def test_grpo_listens_to_the_wide_reward_and_gdpo_to_both(batch):
    rewards, groups = batch
    grpo = explain(compute_advantages("grpo", rewards, groups), rewards, groups, names=["format", "correct"])
    gdpo = explain(compute_advantages("gdpo", rewards, groups), rewards, groups, names=["format", "correct"])
    assert grpo.contributions[0].share < 0.1
    assert grpo.contributions[1].share > 0.8
    assert all(0.35 < contribution.share < 0.6 for contribution in gdpo.contributions)


def test_shares_of_a_linear_estimator_add_up_to_one(batch):
    rewards, groups = batch
    found = explain(compute_advantages("grpo_no_std", rewards, groups), rewards, groups)
    assert sum(contribution.share for contribution in found.contributions) == pytest.approx(1)


def test_shares_and_correlations_have_signs():
    # A = first − second / 2, in one group, with rewards that are not correlated.
    first, second = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    found = explain(first - second / 2, np.stack([first, second], 1), [0] * 4).contributions
    assert [c.share for c in found] == pytest.approx([0.8, 0.2])
    assert [c.correlation for c in found] == pytest.approx([0.8**0.5, -(0.2**0.5)])


def test_a_reward_that_advantages_only_seem_to_follow_has_a_negative_share():
    # The second goes with the first (correlation .8), and A falls with it where the first stays the same.
    rng = np.random.default_rng(1)
    first = rng.standard_normal(400)
    second = 0.8 * first + 0.6 * rng.standard_normal(400)
    found = explain(first - 0.3 * second, np.stack([first, second], 1), np.arange(400) // 8).contributions
    assert found[0].share > 1
    assert found[1].share < -0.1
    assert found[1].correlation > 0


def test_constant_rewards_and_constant_advantages_contribute_nothing():
    found = explain([0.0, 0.0], [[1.0, 0.0], [1.0, 1.0]], [0, 0])
    assert [(c.share, c.correlation) for c in found.contributions] == [(0, 0), (0, 0)]


def test_an_absent_reward_stands_at_its_groups_mean():
    rewards, applicable = [[0.0], [1.0], [99.0]], [[True], [True], [False]]
    advantages = compute_advantages("gdpo", rewards, [0] * 3, applicable=applicable)
    found = explain(advantages, rewards, [0] * 3, applicable=np.array(applicable))
    assert found.contributions[0].correlation == pytest.approx(1)


def test_it_can_be_read_and_drawn(batch, tmp_path):
    rewards, groups = batch
    found = explain(compute_advantages("gdpo", rewards, groups), rewards, groups, names=["format", "correct"])
    assert "format" in str(found)
    assert "groups (0%) without signal" in str(found)
    found.plot(tmp_path / "parts.png")
    assert (tmp_path / "parts.png").read_bytes().startswith(b"\x89PNG")
