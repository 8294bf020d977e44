"""The `axolotl-streaming` presets against axolotl's own trainer method, on thousands of batches.

tox -e peer-axolotl
"""

import pytest
import torch

from gdpo_bench.advantages import compute_advantages, make_normalizer

pytest.importorskip("axolotl", reason="axolotl is not installed: tox -e peer-axolotl")

from gdpo_bench.conformance.peers import axolotl

NAMES = ["gdpo", "grpo", "grpo_no_std"]


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_equals_axolotl(name, assert_equal_to_peer):
    def peer(batch):
        return getattr(axolotl, name)(batch.rewards, batch.groups, batch.weights, None)

    assert_equal_to_peer(make_normalizer(name, preset="axolotl-streaming"), peer, count=1000, even=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_equals_axolotl_where_rewards_are_missing(name):
    rng = torch.Generator().manual_seed(1)
    normalizer = make_normalizer(name, preset="axolotl-streaming")
    for _ in range(300):
        rewards = torch.randint(0, 4, (12, 3), generator=rng).float()
        applicable = torch.rand(12, 3, generator=rng) > 0.3
        groups, weights = [0] * 6 + [1] * 6, [1.0, 0.5, 2.0]
        theirs = getattr(axolotl, name)(rewards, groups, weights, applicable.tolist())
        ours = compute_advantages(normalizer, rewards, groups, weights=weights, applicable=applicable)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
