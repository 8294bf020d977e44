"""The `ms-swift` presets against ms-swift's own advantage function, on thousands of batches.

tox -e peer-swift
"""

import pytest
import torch

from gdpo_bench.advantages import compute_advantages, make_normalizer

pytest.importorskip("swift", reason="ms-swift is not installed: tox -e peer-swift")

from gdpo_bench.conformance.peers import swift

NAMES = ["gdpo", "grpo", "grpo_no_std", "grpo_batch_std", "rloo"]


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_equals_ms_swift(name, assert_equal_to_peer):
    def peer(batch):
        return getattr(swift, name)(batch.rewards, batch.groups, batch.weights, None)

    assert_equal_to_peer(make_normalizer(name, preset="ms-swift"), peer, count=1000, even=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_equals_ms_swift_where_rewards_are_missing(name):
    rng = torch.Generator().manual_seed(1)
    normalizer = make_normalizer(name, preset="ms-swift")
    for _ in range(300):
        rewards = torch.randint(0, 4, (12, 3), generator=rng).float()
        applicable = torch.rand(12, 3, generator=rng) > 0.3
        groups, weights = [0] * 6 + [1] * 6, [1.0, 0.5, 2.0]
        theirs = getattr(swift, name)(rewards, groups, weights, applicable.tolist())
        ours = compute_advantages(normalizer, rewards, groups, weights=weights, applicable=applicable)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gdpo", "grpo"])
def test_a_group_of_one_gets_zero_as_in_ms_swift(name):
    rewards, weights = torch.tensor([[3.0, 1.0], [0.0, 2.0]]), [1.0, 1.0]
    theirs = getattr(swift, name)(rewards, [0, 1], weights, None)
    ours = compute_advantages(make_normalizer(name, preset="ms-swift"), rewards, [0, 1])
    assert theirs.tolist() == ours.tolist() == [0.0, 0.0]
