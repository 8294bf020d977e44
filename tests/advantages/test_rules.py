"""The rules that all normalizers here keep: exact zeros, finite output, dtype, no token counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gdpo_bench.advantages import (
    Groups,
    compute_advantages,
    list_normalizers,
    make_batch,
    make_normalizer,
    normalizer_options,
)
from gdpo_bench.conformance import CLAIMED
from gdpo_bench.core import RewardSpec

NORMALIZERS = ["grpo", "grpo_no_std", "grpo_scaled", "gdpo", "gdpo_no_bn"]
finite = st.floats(-1e30, 1e30)


def specs(k):
    return tuple(RewardSpec(f"r{i}", 0, 1 + i) for i in range(k))


@st.composite
def batches(draw, values=finite):
    """Rewards (N, K), group ids (N,) of uneven groups in any order, and weights (K,)."""
    n, k = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    rewards = draw(st.lists(st.lists(values, min_size=k, max_size=k), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    weights = draw(st.lists(st.floats(-4, 4), min_size=k, max_size=k))
    return torch.tensor(rewards, dtype=torch.float64), torch.tensor(groups), weights


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_output_is_finite_for_any_finite_input(normalizer, batch):
    rewards, groups, weights = batch
    found = compute_advantages(normalizer, rewards, groups, specs=specs(rewards.shape[1]), weights=weights)
    assert found.isfinite().all()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@given(vector=st.lists(finite, min_size=1, max_size=4), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_equal_rewards_throughout_a_group_give_exactly_zero(normalizer, dtype, vector, sizes):
    rewards = torch.tensor([vector] * sum(sizes), dtype=dtype)
    groups = torch.repeat_interleave(torch.tensor(sizes))
    found = compute_advantages(normalizer, rewards, groups, specs=specs(len(vector)))
    assert found.tolist() == [0.0] * len(rewards)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_that_differ_only_by_rounding_are_equal(dtype):
    rewards = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.1, 0.3], [0.3, 0.3, 0.0]], dtype=dtype)
    assert compute_advantages("grpo", rewards, [0] * 4).tolist() == [0.0] * 4
    assert compute_advantages(make_normalizer("grpo", eps=0), rewards, [0] * 4).tolist() == [0.0] * 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_batch_that_cancels_up_to_rounding_is_whitened_to_zero(dtype):
    first = torch.rand(64, generator=torch.Generator().manual_seed(1)).to(dtype)
    rewards = torch.stack([first, 1 - first], dim=1)
    assert compute_advantages("gdpo", rewards, torch.arange(64) // 8).abs().max() == 0


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_groups_without_signal_stay_at_exactly_zero_beside_others(normalizer):
    rewards = torch.tensor([[0.1, 0.7]] * 4 + [[0.1, 0.3], [0.7, 0.9], [0.2, 0.1], [0.3, 0.2]], dtype=torch.float32)
    found = compute_advantages(normalizer, rewards, [0] * 4 + [1] * 4, specs=specs(2))
    assert found[:4].tolist() == [0.0] * 4
    assert found[4:].abs().min() > 0


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@given(batch=batches(st.floats(0, 1)))
@settings(max_examples=30, deadline=None)
def test_token_counts_do_not_enter(normalizer, batch):
    rewards, groups, weights = batch
    options = {"specs": specs(rewards.shape[1]), "weights": weights}
    lengths = torch.arange(1, len(rewards) + 1)
    with_lengths = compute_advantages(normalizer, rewards, groups, lengths=lengths, **options)
    assert torch.equal(with_lengths, compute_advantages(normalizer, rewards, groups, **options))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_rewards_dtype_comes_back(normalizer, dtype):
    rewards = torch.tensor([[0, 1], [1, 0.5]], dtype=dtype)
    assert compute_advantages(normalizer, rewards, [0, 0], specs=specs(2)).dtype == dtype


@pytest.mark.parametrize("rewards", [[[0], [1]], torch.tensor([[0], [1]]), [[0.0], [1.0]]])
def test_lists_and_integers_give_float64(rewards):
    assert compute_advantages("gdpo", rewards, [0, 0]).dtype == torch.float64


@given(batch=batches(st.sampled_from([0.0, 0.25, 0.5, 1.0, -3.0])))
@settings(max_examples=100, deadline=None)
def test_one_reward_makes_gdpo_grpo(batch):
    rewards, groups, _ = batch
    one = rewards[:, :1]
    applicable = rewards[:, -1:] >= 0
    for options in ({}, {"applicable": applicable}, {"failed": ~applicable}):
        gdpo = compute_advantages("gdpo_no_bn", one, groups, **options)
        torch.testing.assert_close(gdpo, compute_advantages("grpo", one, groups, **options), atol=1e-12, rtol=0)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_rollout_without_any_reward_gets_zero_and_leaves_the_others_alone(normalizer):
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.5], [0.5, 0.5], [9.0, 9.0]])
    applicable = torch.tensor([[True, True]] * 3 + [[False, False]])
    found = compute_advantages(normalizer, rewards, [0] * 4, specs=specs(2), applicable=applicable)
    alone = compute_advantages(normalizer, rewards[:3], [0] * 3, specs=specs(2))
    torch.testing.assert_close(found[:3], alone)
    assert found[3] == 0
    assert not found[3].signbit()


def test_what_stands_in_an_absent_place_does_not_matter():
    applicable = torch.tensor([[True, False], [True, True], [False, True]])
    rewards = torch.tensor([[0.0, float("nan")], [1.0, 0.5], [float("inf"), 0.2]])
    found = compute_advantages("gdpo", rewards, [0] * 3, applicable=applicable)
    assert torch.equal(found, compute_advantages("gdpo", rewards.nan_to_num(7, 7), [0] * 3, applicable=applicable))


@pytest.mark.parametrize("normalizer", list_normalizers())
@pytest.mark.parametrize("options", [{}, {"baseline": "leave_one_out"}, {"missing": "zero"}])
def test_long_groups_are_folded_with_the_same_result(monkeypatch, normalizer, options):
    if not options.keys() <= normalizer_options(make_normalizer(normalizer)).keys():
        pytest.skip("not an option of this one")
    rng = torch.Generator().manual_seed(5)
    ids = torch.cat([torch.tensor([7] * 21), torch.arange(9), torch.tensor([12, 12, 12])])
    ids = ids[torch.randperm(33, generator=rng)]
    rewards = torch.randint(0, 3, (33, 2), generator=rng) * 0.7
    rest = {"specs": specs(2), "lengths": torch.randint(1, 9, (33,), generator=rng)}
    for masks in ({}, {"applicable": torch.rand(33, 2, generator=rng) > 0.2}):
        found = []
        for waste in (100, 0):
            monkeypatch.setattr("gdpo_bench.advantages.batch._WASTE", waste)
            made = make_normalizer(normalizer, **CLAIMED.get(normalizer, {}) | options)
            found.append(compute_advantages(made, rewards.double(), ids, **rest, **masks))
        torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=0)


def test_blocks_stay_small_where_one_group_is_long():
    ids = torch.cat([torch.zeros(1000, dtype=torch.long), torch.arange(1, 1000)])
    found = Groups(ids)
    blocks = found.arrange(ids.double()[:, None], torch.float64)
    assert blocks.numel() <= 4 * len(ids)
    assert torch.equal(found.restore(blocks)[:, 0].long(), ids)
    sums = found.restore(found.total(blocks).expand(len(blocks), -1, -1))[:, 0]
    assert torch.equal(sums, ids.double() * found.sizes[found.index])


@pytest.mark.parametrize(
    "ids", [[5, 5, 2, 2], [1, 1, 2, 2, 2], [1, 2, 1, 2, 1], [3], [4, 4, 4], [2, 1, 0], [0, 65536, 0, 65536, 65536]]
)
def test_blocks_hold_a_group_a_column(ids):
    found = Groups(torch.tensor(ids))
    blocks = found.arrange(torch.tensor(ids), torch.float64)
    there = torch.ones_like(blocks, dtype=torch.bool) if found.filled is None else found.filled
    assert all(len(blocks[:, i][there[:, i]].unique()) == 1 for i in range(blocks.shape[1]))
    assert found.restore(blocks).tolist() == ids
    assert found.restore(found.highest(blocks).expand_as(blocks)).tolist() == ids


@pytest.mark.parametrize("normalizer", ["gdpo", "grpo", "gd2po", "dgdo"])
def test_the_callers_rewards_are_left_as_they_are(normalizer):
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.5], [0.5, 0.5], [9.0, 9.0]], dtype=torch.float64)
    given = rewards.clone()
    for ids in ([0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 1, 1]):
        compute_advantages(normalizer, rewards, ids)
        assert torch.equal(rewards, given)


@pytest.mark.parametrize(
    ("ids", "block"),
    [
        ([5, 5, 2, 2], 2),
        ([1, 1, 2, 2, 2], None),
        ([1, 1, 2, 2, 1, 1], None),
        ([3], 1),
        ([4, 4, 4], 3),
        ([1, 2, 1, 2], None),
    ],
)
def test_blocks_of_one_size_are_recognized(ids, block):
    found = Groups(torch.tensor(ids))
    assert found.block == block
    means = found.spread(found.mean(torch.tensor(ids).double()))
    assert means.tolist() == ids


def test_every_builtin_name_makes_a_normalizer():
    assert set(NORMALIZERS) <= set(list_normalizers())
    assert list_normalizers() == sorted(list_normalizers())
    for name in list_normalizers():
        assert callable(make_normalizer(name))


def test_a_batch_offers_group_ids_and_sums_over_groups():
    batch = make_batch([[1.0], [3.0], [5.0]], [7, 2, 7])
    assert batch.groups.tolist() == [7, 2, 7]
    assert batch.grouping.spread(batch.grouping.mean(batch.rewards)).flatten().tolist() == [3.0, 3.0, 3.0]
    assert batch.grouping.mean(torch.tensor([1.0, 3.0, 6.0])).tolist() in ([3.0, 3.5], [3.5, 3.0])
