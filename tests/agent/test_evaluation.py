import numpy as np
import pytest

from gdpo_bench.core import Gate, RewardSpec
from gdpo_bench.core.measurements import curves, evaluate
from gdpo_bench.core.scoring import Scores

SPECS = [
    RewardSpec("correct", -3, 3, metric="accuracy"),
    RewardSpec("short", 0, 1, kind="binary", gate=Gate("correct", 3), metric="exceed_ratio"),
]


def scores(raw: list[list[float]], values: list[list[float]] | None = None) -> Scores:
    array = np.array(raw, float)
    yes = np.ones(array.shape, bool)
    return Scores(array if values is None else np.array(values, float), array, yes, ~yes)


def test_means_apply_gates_and_metrics_read_raw_rewards() -> None:
    found = evaluate(scores([[3, 1], [-1, 1], [3, 0], [2, 0]], [[3, 1], [-1, 0], [3, 0], [2, 0]]), SPECS, step=7)
    assert found.step == 7
    assert found.rewards == {"correct": 1.75, "short": 0.25}
    assert found.metrics == {"accuracy": 0.5, "exceed_ratio": 0.5}
    assert found.applicable == {"correct": 1, "short": 1}


def test_rewards_that_do_not_apply_or_failed_are_left_out_of_the_means() -> None:
    given = scores([[3, 1], [0, 0], [0, 0], [1, 1]])
    given.applicable[1, 0] = False
    given.failed[2, 0] = True
    found = evaluate(given, SPECS)
    assert found.rewards["correct"] == 2
    assert found.metrics["accuracy"] == 0.5
    assert found.applicable == {"correct": 0.5, "short": 1}


def test_reward_that_nowhere_applies_has_no_mean_and_no_metric() -> None:
    given = scores([[0, 1], [0, 1]])
    given.applicable[:, 0] = False
    found = evaluate(given, SPECS)
    assert found.rewards == {"short": 1}
    assert found.metrics == {"exceed_ratio": pytest.approx(0)}
    assert found.applicable == {"correct": 0, "short": 1}


def test_entries_hold_0_where_a_reward_did_not_apply_and_the_metrics_that_every_evaluation_has() -> None:
    given = scores([[2, 1], [2, 1]])
    without = scores([[0, 1], [0, 1]])
    without.applicable[:, 0] = False
    rewards, metrics = curves([evaluate(without, SPECS), evaluate(given, SPECS)], SPECS)
    assert rewards == {"correct": [0, 2], "short": [1, 1]}
    assert metrics == {"exceed_ratio": [pytest.approx(0), pytest.approx(0)]}
