"""Presets against what is known of the frameworks without installing them."""

import pytest
import torch

from gdpo_bench.advantages import (
    PRESETS,
    DomainError,
    OptionError,
    compute_advantages,
    make_normalizer,
    normalizer_options,
)
from gdpo_bench.core import UnknownNameError


def advantages(name, preset, rewards, groups=None, **kwargs):
    options = kwargs.pop("options", {})
    normalizer = make_normalizer(name, preset=preset, **options)
    return compute_advantages(normalizer, rewards, groups or [0] * len(rewards), **kwargs)


def test_token_weighted_whitening_moves_groups_without_signal():
    rewards = [[0.0], [0.0], [0.0], [1.0]] + [[1.0]] * 4
    found = advantages("gdpo", "verl", rewards, [0] * 4 + [1] * 4, lengths=[10, 10, 10, 100] + [50] * 4)
    assert found[4:].tolist() == pytest.approx([-0.557] * 4, abs=1e-3)
    assert compute_advantages("gdpo", rewards, [0] * 4 + [1] * 4)[4:].tolist() == [0.0] * 4


def test_a_tiny_epsilon_amplifies_noise_of_constant_rewards():
    rewards = torch.full((7, 1), 0.9, dtype=torch.float32)
    for ddof, expected in ((1, 0.80), (0, 0.856)):
        normalizer = make_normalizer("gdpo_no_bn", preset="ms-swift", ddof=ddof)
        assert compute_advantages(normalizer, rewards, [0] * 7).abs().max() == pytest.approx(expected, abs=0.005)
    assert compute_advantages("gdpo_no_bn", rewards, [0] * 7).abs().max() == 0


def test_leave_one_out_deviation_exploded_on_one_odd_rollout_up_to_nemo_rl_0_7():
    found = advantages("grpo", "nemo-rl-0.7", torch.tensor([[0.0]] + [[0.35]] * 7))
    assert found[0] == pytest.approx(-2154, abs=1)
    assert advantages("grpo", "nemo-rl", torch.tensor([[0.0]] + [[0.35]] * 7))[0] == pytest.approx(-0.35)


def test_nemo_rl_divides_by_the_deviation_of_fellows_that_differ():
    rewards = torch.tensor([[3.0, 1], [-1, 0], [1, 1], [2, 1], [0, 1], [-2, 1]])
    expected = [1.6499, -2.8284, 0.1414, 2.1213, 0, -2.1213]
    for preset in ("nemo-rl", "nemo-rl-0.7"):
        assert advantages("grpo", preset, rewards, [0, 0, 0, 1, 1, 1]).tolist() == pytest.approx(expected, abs=1e-4)


def test_one_odd_rollout_no_longer_flattens_a_batch_of_nemo_rl():
    rewards = torch.tensor([[0.0] + [0.95] * 7, [1.0, 0] * 4]).T
    found = advantages("gdpo", "nemo-rl", rewards)
    assert found[:4].tolist() == pytest.approx([-0.088, -0.853, 1.167, -0.853], abs=1e-3)


def test_tiny_rewards_lose_scale_under_trl():
    assert advantages("grpo", "trl", [[0.0], [0.0], [0.0], [0.001]]).max() == pytest.approx(1.25, abs=1e-3)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("trl", [0.5773, 0.5773, -1.1545, 0]),
        ("ms-swift", [0.5774, 0.5774, -1.1547, 0]),
        ("nvlabs-trl", [0.8659, 0.8659, -0.8659, -0.8659]),
    ],
)
def test_a_missing_reward_under_each_framework(preset, expected):
    options = {"batch_norm": False, "grpo_if_single": False}
    mask = [[True], [True], [True], [False]]
    found = advantages("gdpo", preset, [[1.0], [1.0], [0.0], [0.0]], applicable=mask, options=options)
    assert found.tolist() == pytest.approx(expected, abs=2e-4)


def test_verl_refuses_missing_rewards_which_would_make_its_whole_batch_nan():
    with pytest.raises(DomainError, match="rollout 1 lacks reward 0"):
        advantages("grpo", "verl", [[1.0], [1.0]], applicable=[[True], [False]])


def test_a_group_of_one_under_each_framework():
    assert advantages("grpo", "trl", [[3.0]]).tolist() == [0]
    assert advantages("grpo", "verl", [[3.0]]).tolist() == pytest.approx([3.0], rel=1e-5)
    with pytest.raises(DomainError, match="not defined for a group of one"):
        advantages("grpo", "openrlhf", [[3.0]])


def test_whitening_within_groups_makes_gdpo_blind_to_how_much_a_group_spreads():
    rewards = [[0, 0], [0, 1], [0, 0], [1, 1]]
    found = advantages("gdpo", "axolotl-streaming", rewards, [0, 0, 1, 1])
    assert found.tolist() == pytest.approx([-0.7071, 0.7071, -0.7071, 0.7071], abs=2e-4)


def test_nemo_whitens_without_epsilon_and_leaves_zero_variance_undivided():
    found = advantages("gdpo", "nemo-rl", [[0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    assert found.std().item() == pytest.approx(1, abs=1e-6)
    assert advantages("gdpo", "nemo-rl", [[0.0], [0.0]]).tolist() == [0, 0]


def test_the_authors_trl_hands_a_single_reward_to_grpo():
    rewards = [[0.0], [1.0], [0.0], [3.0]]
    gdpo = advantages("gdpo", "nvlabs-trl", rewards, [0, 0, 1, 1])
    assert torch.equal(gdpo, advantages("grpo", "nvlabs-trl", rewards, [0, 0, 1, 1]))


def test_a_preset_is_pinned_as_plain_options_and_may_be_overridden():
    options = normalizer_options(make_normalizer("gdpo", preset="verl", eps=1e-3))
    assert options["scope"] == "token"
    assert options["eps"] == 1e-3
    assert "preset" not in options
    assert make_normalizer("gdpo", **options) == make_normalizer("gdpo", preset="verl", eps=1e-3)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_can_be_made(preset):
    for name, estimator in (("grpo", "GRPO"), ("gdpo", "GDPO")):
        if estimator in PRESETS[preset]:
            found = advantages(name, preset, [[0.0, 1.0], [1.0, 0.5], [0.5, 0.0]], lengths=[3, 4, 5])
            assert found.isfinite().all()


def test_what_a_framework_does_not_have_is_said():
    with pytest.raises(OptionError, match="no preset 'openrlhf' of GDPO; its presets: paper, trl, verl"):
        make_normalizer("gdpo", preset="openrlhf")
    with pytest.raises(UnknownNameError, match=r"preset 'tlr'. Did you mean 'trl'"):
        make_normalizer("gdpo", preset="tlr")


@pytest.mark.parametrize(
    ("release", "same"),
    [
        ("trl@1.16", "trl"),
        ("trl@1.6.0", "trl"),
        ("trl@main", "trl"),
        ("trl@1.5.9", "trl@0.27"),
        ("verl@0.9.1", "verl"),
        ("verl@0.7.1", "verl"),
        ("ms-swift@4.6", "ms-swift"),
        ("nemo-rl@0.6", "nemo-rl-0.7"),
        ("nemo-rl@main", "nemo-rl"),
        ("tunix@main", "tunix"),
    ],
)
def test_a_release_stands_for_what_it_computes(release, same):
    assert make_normalizer("gdpo", preset=release) == make_normalizer("gdpo", preset=same)


@pytest.mark.parametrize(
    ("release", "problem"),
    [
        ("trl@0.26", "no preset 'trl@0.26' of GDPO"),
        ("verl@0.7.0", "no preset 'verl@0.4' of GDPO"),
        ("trl@0.1", "oldest release that is known is 0.15"),
        ("trl@new", "a release such as trl@1.6"),
    ],
)
def test_a_release_without_the_estimator_or_that_nobody_knows(release, problem):
    with pytest.raises(OptionError, match=problem):
        make_normalizer("gdpo", preset=release)


def test_all_that_is_missing_counted_as_0_in_trl_up_to_1_5():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [5.0, 5.0]])
    applicable = torch.tensor([[True, True]] * 3 + [[False, False]])
    old, new = (advantages("grpo", name, rewards, applicable=applicable) for name in ("trl@1.5", "trl@1.6"))
    assert new[3] == 0
    assert old.tolist() == pytest.approx([1.3055, 0.2611, -0.7833, -0.7833], abs=1e-3)


def test_tunix_takes_the_populations_deviation_and_whitens_with_1e_4():
    rewards = torch.tensor([[0.0, 2], [0, 1], [0, 0], [1, 1], [0, 1], [2, 0]])
    found = advantages("gdpo", "tunix", rewards, [0, 0, 0, 1, 1, 1])
    assert found[:4].tolist() == pytest.approx([1.5380, 0, -1.5380, 0.8879], abs=1e-4)
    rewards = torch.tensor([[3.0, 1], [-1, 0], [1, 1], [2, 1], [0, 1], [-2, 1]])
    expected = [1.2558, -1.7155, 0.4596, 0.7962, 0, -0.7962]
    assert advantages("gdpo", "tunix", rewards, [0, 0, 0, 1, 1, 1]).tolist() == pytest.approx(expected, abs=1e-4)


def test_nemo_rl_0_2_divided_by_the_populations_deviation_of_the_fellows():
    found = advantages("grpo", "nemo-rl@0.3", torch.tensor([[0.0], [1.0], [3.0]]))
    assert found.tolist() == pytest.approx([-2, -1 / 3, 5], abs=1e-4)
