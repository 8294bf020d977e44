"""`na_zero_fill` and `na_subgroup` against the package that they come from, multireward-grpo.

tox -e peer-multireward
"""

from functools import reduce

import numpy as np
import pytest
import torch

from gdpo_bench.advantages import compute_advantages, make_normalizer

multireward = pytest.importorskip("multireward_grpo", reason="not installed: tox -e peer-multireward")


def theirs(rewards, weights, rule):
    """Advantages (m,) of one group (m, K) whose first reward is the gate of all others."""
    conditioned = reduce(
        lambda found, k: multireward.apply_conditioning(found, 0, k, rule), range(1, rewards.shape[1]), rewards
    )
    return multireward.compute_advantage(conditioned, weights)


@pytest.mark.parametrize("rule", ["none", "zero_fill", "subgroup"])
def test_the_estimator_equals_the_package(rule):
    rng = np.random.default_rng(0)
    normalizer = make_normalizer("gdpo_no_bn", ddof=0, eps=1e-8) if rule == "none" else make_normalizer(f"na_{rule}")
    for _ in range(2000):
        groups, m, k = rng.integers(1, 5), rng.integers(2, 7), rng.integers(2, 5)
        rewards = rng.integers(0, 4, (groups, m, k)) * 0.5
        rewards[..., 0] = rng.random((groups, m)) < 0.5
        weights = rng.uniform(0.1, 2, k)
        ours = compute_advantages(
            normalizer,
            torch.tensor(rewards.reshape(-1, k)),
            np.repeat(np.arange(groups), m),
            weights=weights,
        )
        expected = np.concatenate([theirs(group, weights, rule) for group in rewards])
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)
