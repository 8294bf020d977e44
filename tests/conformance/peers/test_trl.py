"""The `trl` presets against TRL's own trainer method, on thousands of batches.

tox -e peer-trl
"""

import pytest
import torch

from gdpo_bench.advantages import compute_advantages, make_normalizer

pytest.importorskip("trl", reason="TRL is not installed: tox -e peer-trl")

from gdpo_bench.conformance.peers import trl

NAMES = ["gdpo", "grpo", "grpo_no_std", "grpo_batch_std"]


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_equals_trl(name, assert_equal_to_peer):
    def peer(batch):
        return getattr(trl, name)(batch.rewards, batch.groups, batch.weights, None)

    assert_equal_to_peer(make_normalizer(name, preset="trl"), peer, count=1000, even=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_equals_trl_where_rewards_are_missing(name):
    rng = torch.Generator().manual_seed(1)
    normalizer = make_normalizer(name, preset="trl")
    for _ in range(300):
        rewards = torch.randint(0, 4, (12, 3), generator=rng).float()
        applicable = torch.rand(12, 3, generator=rng) > 0.3
        groups, weights = [0] * 6 + [1] * 6, [1.0, 0.5, 2.0]
        theirs = getattr(trl, name)(rewards, groups, weights, applicable.tolist())
        ours = compute_advantages(normalizer, rewards, groups, weights=weights, applicable=applicable)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
