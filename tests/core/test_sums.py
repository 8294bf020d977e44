"""Scores of episodes from those of their turns, and of many rollouts from those of a few."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gdpo_bench.core import DialogEnv, Gate, Message, RewardError, Task, Turn, reward
from gdpo_bench.core.scoring import EpisodeBatch, Scores, ScoringFailure


class Gated(DialogEnv[Task, None]):
    """A reply of two digits: what it does well, and how bold it is, which counts where it does well."""

    max_turns = 3

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"{split}?")]

    def begin(self, task: Task) -> None:
        return None

    def respond(self, task: Task, state: None, reply: str) -> Message | None:
        return {"role": "user", "content": "and?"}

    @reward(low=0, high=10)
    def well(self, task: Task, turn: Turn[None]) -> float:
        return float(turn.reply[0])

    @reward(low=0, high=10, gate=Gate(on="well", at_least=1))
    def bold(self, task: Task, turn: Turn[None]) -> float | None:
        return None if turn.reply[1] == "-" else float(turn.reply[1])


def played(*scripts: str) -> list[Scores]:
    """The scores of each turn; a script is the replies of one rollout."""
    batch = EpisodeBatch(Gated(), "test/Gated-v0", [Task("?")] * len(scripts))
    return [batch.play(replies) for replies in zip(*(script.split() for script in scripts), strict=True)]


def test_a_gated_reward_of_an_episode_is_the_sum_of_what_counted_in_each_turn() -> None:
    """A condition is that of its turn: what is bold in the second turn does not count for having done well before."""
    total = reduce(Scores.__add__, played("14 03 12", "00 09 00", "1- 0- 1-"))
    assert total.values.tolist() == [[2, 6], [0, 0], [2, 0]]
    assert total.raw.tolist() == [[2, 9], [0, 9], [2, 0]]
    assert total.applicable.tolist() == [[True, True], [True, True], [True, False]]
    assert not total.failed.any()


def test_the_range_holds_for_the_sum_before_gates() -> None:
    """The condition may be met another time, so a sum that would leave the range is a wrong declaration."""
    assert reduce(Scores.__add__, played("05 05")).raw.tolist() == [[0, 10]]
    with pytest.raises(RewardError, match=r"'bold' .* adds up to 11.0 over the episode, outside \[0, 10\]"):
        played("05 06")


def test_a_turn_that_failed_or_applied_once_marks_the_episode() -> None:
    total = reduce(Scores.__add__, played("1- 13 1-", "10 x0 10"))
    assert total.applicable.tolist() == [[True, True], [True, True]]
    assert total.failed.tolist() == [[False, False], [True, True]]
    assert [failure.reward for failure in total.failures] == ["well"]
    assert total.values.tolist() == [[3, 3], [2, 0]]


def scores(rollouts: int) -> st.SearchStrategy[Scores]:
    def columns(kind: Any, elements: Any = None) -> st.SearchStrategy[np.ndarray]:
        return arrays.arrays(kind, (rollouts, 2), elements=elements)

    numbers = st.floats(-4, 4, allow_subnormal=False)
    failures = st.lists(st.builds(ScoringFailure, *(st.sampled_from("abc"),) * 4), max_size=2)
    values, masks = columns(float, numbers), columns(bool)
    return st.builds(Scores, values, values, masks, masks, failures)


def same(one: Scores, other: Scores) -> bool:
    return vars(one).keys() == vars(other).keys() and all(
        np.array_equal(value, getattr(other, name)) if isinstance(value, np.ndarray) else value == getattr(other, name)
        for name, value in vars(one).items()
    )


@given(scores(3), scores(3))
def test_adding_adds_numbers_column_by_column_and_joins_masks(one: Scores, other: Scores) -> None:
    total = one + other
    for i in range(3):
        for k in range(2):
            assert total.values[i, k] == one.values[i, k] + other.values[i, k]
            assert total.raw[i, k] == one.raw[i, k] + other.raw[i, k]
            assert total.applicable[i, k] == (one.applicable[i, k] or other.applicable[i, k])
            assert total.failed[i, k] == (one.failed[i, k] or other.failed[i, k])
    assert total.failures == one.failures + other.failures
    assert same(Scores.empty(3, 2) + one, one)


@given(scores(2), scores(3))
def test_stacking_puts_rollouts_behind_each_other_and_selecting_takes_them_apart(one: Scores, other: Scores) -> None:
    both = one.stack(other)
    assert both.failures == one.failures + other.failures
    for part, rows in ((one, slice(0, 2)), (other, slice(2, 5))):
        for chosen in (np.arange(5)[rows], np.isin(np.arange(5), np.arange(5)[rows])):
            picked = both.select(chosen)
            assert picked.failures == both.failures
            for name in ("values", "raw", "applicable", "failed"):
                assert np.array_equal(getattr(picked, name), getattr(part, name)), name
