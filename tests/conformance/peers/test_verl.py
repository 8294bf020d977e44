"""The `verl` presets against verl's own advantage functions, on thousands of batches.

tox -e peer-verl
"""

import pytest
import torch

from gdpo_bench.advantages import compute_advantages, make_normalizer

pytest.importorskip("verl", reason="verl is not installed: tox -e peer-verl")

from gdpo_bench.conformance.peers import verl

NAMES = ["gdpo", "grpo", "grpo_no_std", "rloo", "opo", "reinforce_pp_baseline"]


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_equals_verl(name, assert_equal_to_peer):
    def peer(batch):
        arguments = {} if name != "gdpo" else {"applicable": None}
        return getattr(verl, name)(batch.rewards, batch.groups, batch.weights, batch.lengths, **arguments)

    assert_equal_to_peer(make_normalizer(name, preset="verl"), peer, count=600, even=False)


def test_a_group_of_one_keeps_its_raw_reward_in_verl():
    theirs = verl.grpo(torch.tensor([[3.0]]), [0], [1.0], [5])
    ours = compute_advantages(make_normalizer("grpo", preset="verl"), torch.tensor([[3.0]]), [0])
    assert torch.equal(ours, theirs)


def test_a_missing_component_poisons_the_whole_batch_in_verl():
    rewards, applicable = torch.tensor([[0.0], [1.0], [0.0], [1.0]]), [[False], [True], [True], [True]]
    found = verl.gdpo(rewards, [0, 0, 1, 1], [1.0], [5] * 4, applicable)
    assert found.isnan().all()
