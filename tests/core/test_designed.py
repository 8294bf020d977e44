"""What a designed set of rewards promises: ranges, worths, and how often rewards are earned together."""

from random import Random
from typing import Any

import numpy as np
import pytest

from gdpo_bench.core import DeclarationError
from gdpo_bench.core.designed import RewardDesign


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rewards": 9}, r"rewards must lie in \[1, 8\]; got 9"),
        ({"correlation": 1.0}, r"correlation must lie in \[-0.95, 0.95\]"),
        ({"rarity": 0.0}, "rarity must be above 0"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"noise": float("nan")}, "noise at least 0"),
        ({"rewards": 1, "conflict": 0.1}, "conflict: that needs a second reward"),
        ({"gated": True, "noise": 0.1}, "gated and noise exclude each other"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        RewardDesign(**options)


@pytest.mark.parametrize("conflict", [0.0, 0.1, 0.95])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_declared_ranges_are_reached_and_never_left(conflict: float, noise: float) -> None:
    design = RewardDesign(rewards=3, conflict=conflict, noise=noise)
    earned = np.array([[bool(n & 4), bool(n & 2), bool(n & 1)] for n in range(8)])
    values = design.values(earned)
    assert (values.min(0) - design.noise_width).tolist() == pytest.approx([spec.low for spec in design.specs])
    assert (values.max(0) + design.noise_width).tolist() == pytest.approx([spec.high for spec in design.specs])


def test_only_the_first_small_reward_costs_the_large_one() -> None:
    design = RewardDesign(rewards=3, scale=10, conflict=0.05)
    earned = np.array([[True, False, False], [True, True, False], [True, False, True], [False, True, True]])
    assert design.values(earned).tolist() == [[10, 0, 0], [9.5, 1, 0], [10, 0, 1], [-0.5, 1, 1]]


def test_noise_has_the_standard_deviation_that_is_asked_for() -> None:
    design = RewardDesign(scale=4, noise=0.3)
    drawn = np.random.default_rng(0).uniform(-1, 1, (20_000, 2)) * design.noise_width
    assert drawn.std(axis=0).tolist() == pytest.approx([1.2, 0.3], rel=0.02)


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.6])
def test_rates_at_the_start_are_those_asked_for_whatever_the_correlation(correlation: float) -> None:
    design = RewardDesign(rewards=3, rarity=0.1, common=0.5, correlation=correlation)
    rng = Random(0)
    drawn = np.array([[rng.random() < p for p in design.chances(rng.gauss())] for _ in range(8_000)])
    assert drawn.mean(axis=0).tolist() == pytest.approx([0.5, 0.1, 0.1], abs=0.015)
    large, small, other = drawn.T
    joint = (large & small).mean() - large.mean() * small.mean()
    assert abs(joint) < 0.01 if correlation == 0 else joint * correlation > 0.01
    assert (small & other).mean() - 0.01 > (0.01 if correlation else -0.01)  # of one sign with each other
