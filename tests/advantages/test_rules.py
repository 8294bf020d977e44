"""The rules that all normalizers here keep: exact zeros, finite output, dtype, no token counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gdpo_bench.advantages import GDPO, compute_advantages, groups, list_normalizers, make_batch, make_normalizer
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


def test_what_stands_in_an_absent_place_does_not_matter():
    applicable = torch.tensor([[True, False], [True, True], [False, True]])
    rewards = torch.tensor([[0.0, float("nan")], [1.0, 0.5], [float("inf"), 0.2]])
    found = compute_advantages("gdpo", rewards, [0] * 3, applicable=applicable)
    assert torch.equal(found, compute_advantages("gdpo", rewards.nan_to_num(7, 7), [0] * 3, applicable=applicable))


@pytest.mark.parametrize("options", [{}, {"baseline": "leave_one_out"}, {"singleton": "raw"}, {"missing": "zero"}])
@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_large_batches_are_computed_in_pieces_with_the_same_result(monkeypatch, options, size, dtype):
    rng = torch.Generator().manual_seed(size)
    rewards = torch.randint(0, 3, (60, 3), generator=rng).to(dtype) * 0.7
    rewards[:12] = rewards[0]  # groups without signal
    given, applicable = rewards.clone(), torch.rand(60, 3, generator=rng) > 0.2
    for masks in ({}, {"applicable": applicable}):
        whole = compute_advantages(GDPO(**options), rewards, torch.arange(60) // size, **masks)
        with monkeypatch.context() as patch:
            patch.setattr(groups, "_SMALL", 0)
            patch.setattr(groups, "_CACHED_VALUES", 50)
            found = compute_advantages(GDPO(**options), rewards, torch.arange(60) // size, **masks)
        torch.testing.assert_close(found, whole, atol=1e-6 if dtype == torch.float32 else 1e-12, rtol=0)
        assert torch.equal(rewards, given)


def test_groups_in_pieces_know_their_rollouts(monkeypatch):
    monkeypatch.setattr(groups, "_SMALL", 0)
    monkeypatch.setattr(groups, "_CACHED_VALUES", 8)
    ids = torch.arange(12) // 2
    batch = make_batch(torch.zeros(12, 2), ids)
    for rows, piece in batch.grouping.pieces(2):
        there = piece.arrange(ids[rows], torch.float64)
        assert torch.equal(piece.restore(there).long(), ids[rows])
        assert torch.equal(piece.spread(piece.mean(there)), there)
        assert torch.equal(piece.restore(piece.index + ids[rows][0]), piece.ids)


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
    found = groups.Groups(torch.tensor(ids))
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
