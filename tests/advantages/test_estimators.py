"""The estimators beside GRPO and GDPO: formulas, sources' special cases, domains."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gdpo_bench.advantages import DGDO, BatchError, DomainError, OptionError, compute_advantages, make_normalizer

BINARY = [[1.0], [0.0], [0.0], [1.0], [0.0], [0.0]]


def advantages(normalizer, rewards, groups=None, **kwargs):
    options = kwargs.pop("options", {})
    return compute_advantages(make_normalizer(normalizer, **options), rewards, groups or [0] * len(rewards), **kwargs)


def test_rloo_compares_with_the_mean_of_the_others():
    found = advantages("rloo", [[1.0], [2.0], [6.0]])
    assert found.tolist() == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5])


def test_batch_std_divides_all_groups_alike():
    rewards = [[0.0], [1.0], [0.0], [10.0]]
    found = advantages("grpo_batch_std", rewards, [0, 0, 1, 1])
    std = torch.tensor(rewards).std().item()
    assert found.tolist() == pytest.approx([-0.5 / std, 0.5 / std, -5 / std, 5 / std], rel=1e-5)


def test_reinforce_pp_whitens_over_the_batch():
    rewards = torch.tensor([[0.0], [1.0], [4.0], [4.0]])
    found = advantages("reinforce_pp", rewards, [0, 0, 1, 1])
    torch.testing.assert_close(found, ((rewards - rewards.mean()) / rewards.std()).squeeze(1), rtol=1e-5, atol=1e-5)
    with_baseline = advantages("reinforce_pp_baseline", rewards, [0, 0, 1, 1])
    assert with_baseline.tolist() == pytest.approx([-1.2247, 1.2247, 0, 0], abs=1e-4)


def test_maxrl_divides_by_the_mean():
    assert advantages("maxrl", BINARY).tolist() == pytest.approx([2, -1, -1, 2, -1, -1], abs=1e-4)
    assert advantages("maxrl", [[0.0], [0.0]]).tolist() == [0, 0]
    assert advantages("maxrl", [[0.0], [0.0]], options={"eps": 0}).tolist() == [0, 0]


def test_maxrl_refuses_negative_sums():
    with pytest.raises(DomainError, match="not negative; rollout 1 has -3"):
        advantages("maxrl", [[0.0], [-3.0]])


def test_opo_weights_the_baseline_by_length():
    found = advantages("opo", [[1.0], [0.0], [0.0]], lengths=[10, 20, 70])
    assert found.tolist() == pytest.approx([0.9, -0.1, -0.1])
    assert advantages("opo", [[1.0], [0.0]], lengths=[0, 0]).tolist() == [0.5, -0.5]
    with pytest.raises(DomainError, match="needs `lengths`"):
        advantages("opo", [[1.0], [0.0]])


def test_pass_at_k_is_the_closed_form_on_binary_rewards():
    group, right, k = 6, 2, 3
    wrong = group - right
    mean = 1 - math.comb(wrong, k) / math.comb(group, k)
    std = math.sqrt(mean * (1 - mean))
    for_right = (1 - mean) / std
    for_wrong = (1 - mean - math.comb(wrong - 1, k - 1) / math.comb(group - 1, k - 1)) / std
    expected = [for_right if reward == [1.0] else for_wrong for reward in BINARY]
    assert advantages("pass_at_k", BINARY, options={"k": k, "eps": 0}).tolist() == pytest.approx(expected)


@given(values=st.lists(st.integers(-4, 4), min_size=2, max_size=7), k=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_pass_at_k_is_what_enumerating_all_subsets_gives(values, k):
    found = advantages("pass_at_k", [[float(value)] for value in values], options={"k": k, "eps": 0})
    subsets = list(itertools.combinations(range(len(values)), k))
    best = torch.tensor([max(values[i] for i in subset) for subset in subsets], dtype=torch.float64)
    if len(values) <= k or best.std(correction=0) == 0:
        assert found.tolist() == [0] * len(values)
        return
    for i, advantage in enumerate(found.tolist()):
        own = torch.tensor([i in subset for subset in subsets])
        assert advantage == pytest.approx(((best[own].mean() - best.mean()) / best.std(correction=0)).item(), abs=1e-9)


def test_pass_at_k_handles_groups_of_several_sizes_at_once():
    values, groups = [[1.0], [0.0], [3.0], [0.0], [2.0], [5.0], [4.0]], [1, 0, 0, 1, 0, 1, 2]
    whole = advantages("pass_at_k", values, groups, options={"k": 2})
    for group in (0, 1, 2):
        rows = [i for i, g in enumerate(groups) if g == group]
        alone = advantages("pass_at_k", [values[i] for i in rows], options={"k": 2})
        torch.testing.assert_close(whole[rows], alone)


# Per-reward advantages of this group: (+, −), (−, +), (−, −), (+, +).
CONFLICT = [[1, 0.2], [0, 0.9], [0, 0.0], [1, 1.0]]


def test_gd2po_drops_rollouts_whose_rewards_disagree():
    options = {"batch_norm": False}
    gdpo = advantages("gdpo_no_bn", CONFLICT)
    hard = advantages("gd2po_hard", CONFLICT, options=options)
    assert hard.tolist() == pytest.approx([0, 0, gdpo[2].item() / 2, gdpo[3].item() / 2])
    whitened = advantages("gd2po_hard", CONFLICT)
    assert whitened[:2].tolist() == [0, 0]
    assert whitened[2:].tolist() == pytest.approx([-0.7071, 0.7071], abs=1e-4)


def test_gd2po_keeps_mixed_rollouts_that_mostly_agree():
    options = {"batch_norm": False}
    everything = advantages("gd2po", CONFLICT, options=options | {"tau": 0})
    torch.testing.assert_close(everything, advantages("gdpo_no_bn", CONFLICT))
    assert (advantages("gd2po", CONFLICT, options=options | {"tau": 1})[:2] == 0).all()
    weighted = advantages("gd2po", CONFLICT, weights=[5, 1], options=options)
    assert (weighted != 0).all()


@pytest.mark.parametrize(("tau", "kept"), [(0.6, True), (0.60005, True), (0.6002, False), (0.5, True)])
def test_gd2po_keeps_ties(tau, kept):
    # One group of two, whose rewards disagree: |s| = |w − 1| / (w + 1) = .6 for a weight of 4.
    found = advantages("gd2po", [[1, 0], [0, 1]], weights=[4, 1], options={"tau": tau, "batch_norm": False})
    assert (found != 0).tolist() == [kept, kept]


def test_whitening_leaves_out_only_rollouts_without_any_reward():
    rewards = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.5], [0.0, 0.0]]
    applicable = torch.tensor([[True, True]] * 4 + [[True, False], [False, False]])
    groups = [0, 0, 1, 1, 1, 1]
    plain = advantages("gdpo_no_bn", rewards, groups, weights=[2, 1], applicable=applicable)
    found = advantages("gdpo", rewards, groups, weights=[2, 1], applicable=applicable)
    counted = plain[:5]  # the fifth lacks one reward and counts; the sixth lacks both and does not
    assert counted[4] != 0
    torch.testing.assert_close(found[:5], (counted - counted.mean()) / (counted.std() + 1e-6))
    assert found[5] == 0
    options = {"whiten_absent": True}
    with_it = advantages("gdpo", rewards, groups, weights=[2, 1], applicable=applicable, options=options)
    torch.testing.assert_close(with_it, (plain - plain.mean()) / (plain.std() + 1e-6))


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([0.0] + [0.95] * 7, [-0.95] + [0.378] * 7),
        ([1.0, 0, 0, 0], [1.0] + [-0.5774] * 3),
        ([0.0, 1], [-1.0, 1]),
        ([0.7] * 5 + [0.1], [0.4472] * 5 + [-0.6]),
        ([0.0, 1, 1, 0], [-1.1547, 1.1547, 1.1547, -1.1547]),
        ([1.0, 2, 3, 4], [-2.0, -0.4364, 0.4364, 2]),
        ([0.3] * 4, [0.0] * 4),
        ([1e7, 1e7 + 1, 1e7 + 2, 1e7 + 3], [-2.0, -0.4364, 0.4364, 2]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_deviation_of_equal_fellows_divides_nothing(rewards, expected, dtype):
    if dtype == torch.float32 and rewards[0] > 1e6:
        pytest.skip("to float32 these are equal up to rounding")
    options = {"baseline": "leave_one_out"}
    column = torch.tensor(rewards, dtype=dtype)[:, None]
    assert advantages("grpo", column, options=options).tolist() == pytest.approx(expected, abs=1e-4)
    uneven = torch.cat([column, torch.tensor([[5.0]], dtype=dtype)])
    found = advantages("gdpo_no_bn", uneven, [0] * len(rewards) + [1], options=options)
    assert found.tolist() == pytest.approx([*expected, 0], abs=1e-4)


def test_fellows_that_are_absent_are_none():
    rewards, applicable = [[0.0], [1.0], [1.0], [7.0]], [[True], [True], [True], [False]]
    for normalizer in ("grpo", "gdpo_no_bn"):
        found = advantages(normalizer, rewards, options={"baseline": "leave_one_out"}, applicable=applicable)
        assert found.tolist() == pytest.approx([-1.0, 0.7071, 0.7071, 0], abs=1e-4)


def test_fellows_that_differ_by_rounding_are_equal():
    rewards = torch.tensor([[0.0], [1.0], [1.0 + 2**-23], [1.0]])
    found = advantages("grpo", rewards, options={"baseline": "leave_one_out"})
    assert found[0] == pytest.approx(-1)


def test_one_odd_group_does_not_flatten_the_others():
    rewards = [[0.0, 1.0]] + [[1.0, 1.0]] * 7 + [[0.0, 0.0], [1.0, 1.0]] * 4
    found = advantages("gdpo", rewards, [0] * 8 + [1] * 8, options={"baseline": "leave_one_out"})
    assert (found[8::2] < -0.3).all()
    assert (found[9::2] > 0.3).all()


def test_opo_takes_a_group_of_one_as_it_is_told():
    assert advantages("opo", [[3.0]], lengths=[5]).tolist() == [0]
    assert advantages("opo", [[3.0]], lengths=[5], options={"singleton": "raw"}).tolist() == [3]


def test_dgdo_follows_relative_spread_with_memory_that_can_be_saved():
    first = [[0.0, 5.0], [1.0, 5.1], [0.0, 5.0], [0.0, 5.1]]
    second = [[1.0, 0.0], [1.0, 3.0], [1.0, 0.0], [0.9, 0.0]]
    normalizer = DGDO(momentum=0.5)
    compute_advantages(normalizer, first, [0] * 4)
    weights = normalizer.state_dict()["weights"]
    assert sum(weights) == pytest.approx(1)
    assert weights[0] > weights[1]
    resumed = DGDO(momentum=0.5)
    resumed.load_state_dict(normalizer.state_dict())
    assert torch.equal(compute_advantages(resumed, second, [0] * 4), compute_advantages(normalizer, second, [0] * 4))
    assert resumed.state_dict() == normalizer.state_dict() != {"weights": weights}
    with pytest.raises(BatchError, match="weights for 2 rewards, and the batch has 1"):
        compute_advantages(normalizer, [[1.0], [0.0]], [0, 0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pass_at_k", {"k": 0}, "k must be at least 1"),
        ("gd2po", {"tau": 2}, "tau must be between 0 and 1"),
        ("dgdo", {"momentum": 1}, "momentum must be at least 0 and below 1"),
        ("gdpo", {"whitening_eps": -1}, "whitening_eps must be a finite number"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(OptionError, match=message):
        make_normalizer(name, **options)


@pytest.mark.parametrize("normalizer", ["gdpo", "gdpo_no_bn", "gd2po", "gd2po_hard", "dgdo"])
@given(weights=st.lists(st.sampled_from([0.25, 0.5, 2.0, 8.0]), min_size=2, max_size=2))
@settings(max_examples=10, deadline=None)
def test_weights_before_normalization_cancel(normalizer, weights):
    rewards, groups = [*CONFLICT, [0, 3.0], [1, 2.0], [1, 0.0], [0, 1.0]], [0] * 4 + [1] * 4
    options = {"weighting": "before", "eps": 0}
    found = advantages(normalizer, rewards, groups, weights=weights, options=options)
    torch.testing.assert_close(found, advantages(normalizer, rewards, groups, options=options))
    turned = advantages(normalizer, rewards, groups, weights=[-weights[0], weights[1]], options=options)
    flipped = advantages(normalizer, [[-first, second] for first, second in rewards], groups, options=options)
    torch.testing.assert_close(turned, flipped)


def test_a_weight_of_zero_before_normalization_drops_a_reward():
    found = advantages("gdpo", CONFLICT, weights=[0, 1], options={"weighting": "before"})
    torch.testing.assert_close(found, advantages("gdpo", [row[1:] for row in CONFLICT]), atol=1e-5, rtol=0)
