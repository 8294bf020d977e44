"""How much of each reward the advantages carry on."""

import numpy as np
import pytest

from gdpo_bench.advantages import compute_advantages, explain, reward_signals

GROUPS = np.repeat([0, 1], 4)
REWARDS = np.array([[6, 0], [0, 0], [6, 0], [0, 1], [6, 0], [6, 0], [0, 0], [0, 0]], dtype=float)


def test_a_small_reward_has_a_small_share_of_grpo_and_an_equal_one_of_gdpo() -> None:
    shares = {
        name: [
            signal.correlation for signal in reward_signals(compute_advantages(name, REWARDS, GROUPS), REWARDS, GROUPS)
        ]
        for name in ("grpo", "gdpo")
    }
    assert shares["grpo"][0] > 0.98
    assert shares["grpo"][1] < 0 < shares["gdpo"][1]


def test_signals_are_those_of_the_definition() -> None:
    advantages = np.array([1.0, -1, 2, -2, 0, 0.5, -0.5, 0])
    large, small = reward_signals(advantages, REWARDS, GROUPS, highest=[6, 2])
    centred = REWARDS[:, 0] - np.repeat([3.0, 3.0], 4)
    assert large.correlation == pytest.approx(np.corrcoef(advantages, centred)[0, 1])
    assert large.covariance == pytest.approx((advantages * centred).mean() / np.sqrt((advantages**2).mean()))
    assert (large.informative, small.informative) == (1.0, 0.5)
    assert (large.saturation, small.saturation) == (0.5, 0.0)
    assert (
        large.tradeoff
        == small.tradeoff
        == pytest.approx(np.corrcoef(centred[:4], REWARDS[:4, 1] - 0.25)[0, 1] / np.sqrt(2))
    )


def test_rollouts_without_a_reward_count_neither_for_it_nor_against_it() -> None:
    advantages = np.arange(8.0)
    applicable = np.ones_like(REWARDS, dtype=bool)
    applicable[4:, 1] = False
    noisy = np.where(applicable, REWARDS, 99.0)
    alone = reward_signals(advantages[:4], REWARDS[:4], GROUPS[:4])[1]
    among = reward_signals(advantages, noisy, GROUPS, applicable=applicable)[1]
    assert among.correlation == pytest.approx(alone.correlation)
    assert among.saturation == alone.saturation
    assert reward_signals(advantages, noisy, GROUPS, failed=~applicable)[1] == among


def test_what_is_constant_carries_nothing() -> None:
    constant = np.full((8, 1), 0.1)
    (signal,) = reward_signals(np.arange(8.0), constant, GROUPS)
    assert (signal.correlation, signal.covariance, signal.informative, signal.tradeoff) == (0, 0, 0, 0)
    (signal,) = reward_signals(np.zeros(8), REWARDS[:, :1], GROUPS)
    assert (signal.correlation, signal.covariance, signal.informative) == (0, 0, 1)
    absent = reward_signals(np.arange(8.0), constant, GROUPS, applicable=np.zeros((8, 1), dtype=bool))
    assert absent[0].correlation == absent[0].saturation == 0


def test_its_correlation_is_that_of_explain() -> None:
    advantages = compute_advantages("gdpo", REWARDS, GROUPS)
    explained = [part.correlation for part in explain(advantages, REWARDS, GROUPS).contributions]
    assert explained == pytest.approx([signal.correlation for signal in reward_signals(advantages, REWARDS, GROUPS)])
