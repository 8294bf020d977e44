import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from gdpo_bench.core import Gate, GroupVectorEnv, RewardError, Task, TextEnv, UnavailableError, reward

Vec = Callable[..., GroupVectorEnv]


class Base(TextEnv[Task]):
    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(split)]


def step(venv: GroupVectorEnv, *replies: str) -> tuple[np.ndarray, dict[str, Any]]:
    venv.reset(seed=0)
    _, rewards, _, _, info = venv.step(replies)
    return rewards, info


# Values


class Literal(Base):
    """Returns what the test puts here."""

    value: Any = None

    @reward(low=-1, high=1)
    def score(self, task: Task, reply: str) -> Any:
        return self.value


class BatchedLiteral(Base):
    value: Any = None

    @reward(low=-1, high=1, batched=True)
    def score(self, tasks: Sequence[Task], replies: Sequence[str]) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5),
        (1, 1),
        (True, 1),
        (np.float32(0.5), 0.5),
        (np.bool_(True), 1),
        (np.array(0.5), 0.5),
        (np.int64(1), 1),
        (torch.tensor(0.5), 0.5),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor(True), 1),
        (Fraction(1, 2), 0.5),
        (1 + 1e-12, 1),
        (-1 - 1e-12, -1),
    ],
)
def test_any_real_number_in_the_range_is_a_reward(vec: Vec, value: Any, expected: float) -> None:
    venv = vec(Literal, 1, 1)
    venv.text_env.value = value
    rewards, info = step(venv, "")
    assert rewards.tolist() == [[expected]]
    assert info["applicable"].all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "must be finite; got nan"),
        (math.inf, "must be finite; got inf"),
        pytest.param(10**400, "must be finite; got inf", id="huge"),
        (1.01, r"must lie in \[-1, 1\] as declared; got 1.01"),
        (-1.01, r"must lie in \[-1, 1\] as declared; got -1.01"),
        ("1", "must be one number .* got str '1'"),
        (1j, "must be one number .* got complex"),
        (Decimal(1), "must be one number .* got Decimal"),
        ([0.5], "must be one number .* got list"),
        (np.zeros(2), r"must be one number .* got ndarray of shape \(2,\)"),
        (torch.zeros(1), r"must be one number .* got Tensor of shape torch.Size\(\[1\]\)"),
        (torch.tensor(math.nan), "must be finite; got nan"),
        (torch.tensor(2.0), r"must lie in \[-1, 1\] as declared; got 2.0"),
        (np.str_("1"), "must be one number .* got str '1'"),
        (np.complex64(1), "must be one number .* got complex"),
        (np.zeros((1, 1)), r"must be one number .* got ndarray of shape \(1, 1\)"),
    ],
)
def test_reward_against_its_declaration_names_environment_reward_and_task(vec: Vec, value: Any, message: str) -> None:
    venv = vec(Literal, 1, 1)
    venv.text_env.value = value
    with pytest.raises(RewardError, match=f"test/Env-v0: reward 'score' on task {venv.tasks[0].id} {message}"):
        step(venv, "")


def test_binary_reward_may_not_be_between(vec: Vec) -> None:
    class Half(Base):
        @reward(low=0, high=1, kind="binary")
        def correct(self, task: Task, reply: str) -> float:
            return 0.5

    with pytest.raises(RewardError, match=r"'correct' .* declared binary, 0 or 1; got 0.5"):
        step(vec(Half, 1, 1), "")


# Failures


class Fragile(Base):
    """Rewards that fail on some replies."""

    @reward(low=0, high=1)
    def each(self, task: Task, reply: str) -> float:
        return 1 / len(reply)

    @reward(low=0, high=1, batched=True)
    def together(self, tasks: Sequence[Task], replies: Sequence[str]) -> list[float]:
        return [1 / len(reply) for reply in replies]

    @reward(low=0, high=1, batched=True)
    def lazily(self, tasks: Sequence[Task], replies: Sequence[str]) -> Any:
        return (1 / len(reply) for reply in replies)

    @reward(low=0, high=1)
    def never(self, task: Task, reply: str) -> float:
        return 0.25


def test_failing_reward_sets_the_mask_for_that_rollout_alone(vec: Vec) -> None:
    rewards, info = step(vec(Fragile, 1, 3), "ab", "", "abcd")
    assert rewards.tolist() == [[0.5, 0.5, 0.5, 0.25], [0, 0, 0, 0.25], [0.25] * 4]
    assert info["failed"].tolist() == [[False] * 4, [True, True, True, False], [False] * 4]
    assert info["applicable"].all()


def test_failures_name_environment_reward_task_and_error(vec: Vec) -> None:
    venv = vec(Fragile, 1, 2)
    _, info = step(venv, "ab", "")
    assert [failure.reward for failure in info["failures"]] == ["each", "together", "lazily"]
    failure = info["failures"][0]
    assert re.fullmatch(r".*test_scoring\.py, line \d+", failure.place)
    assert str(failure) == (
        f"test/Env-v0: reward 'each' failed on task {venv.tasks[0].id}: ZeroDivisionError: division by zero "
        f"({failure.place})"
    )


def test_failure_of_a_single_rollout_is_a_failure_too(vec: Vec) -> None:
    _, info = step(vec(Fragile, 1, 1), "")
    assert info["failed"].tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("rollouts", [1, 2])
def test_what_is_missing_on_this_machine_ends_the_step_and_says_nothing_of_the_replies(
    vec: Vec, batched: bool, rollouts: int
) -> None:
    class Remote(Base):
        @reward(low=0, high=1, batched=batched)
        def correct(self, task: Any, reply: Any) -> float:
            raise UnavailableError("no service answers")

    with pytest.raises(UnavailableError, match="no service answers"):
        step(vec(Remote, 1, rollouts), *["a"] * rollouts)


def test_interrupt_is_no_failure(vec: Vec) -> None:
    class Interrupted(Base):
        @reward(low=0, high=1)
        def score(self, task: Task, reply: str) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step(vec(Interrupted, 1, 1), "")


# Batched rewards


def test_batched_reward_sees_all_tasks_and_replies_in_order(vec: Vec) -> None:
    seen = []

    class Batched(Base):
        @reward(low=0, high=9, batched=True)
        def length(self, tasks: Sequence[Task], replies: Sequence[str]) -> Any:
            seen.append((list(tasks), list(replies)))
            return np.array([len(reply) for reply in replies])

    venv = vec(Batched, 1, 3)
    rewards, _ = step(venv, "a", "", "abc")
    assert rewards[:, 0].tolist() == [1, 0, 3]
    assert seen == [([venv.tasks[0]] * 3, ["a", "", "abc"])]


def test_batched_reward_may_be_not_applicable_to_some(vec: Vec) -> None:
    venv = vec(BatchedLiteral, 1, 2)
    venv.text_env.value = [None, 0.5]
    rewards, info = step(venv, "a", "b")
    assert rewards[:, 0].tolist() == [0, 0.5]
    assert info["applicable"][:, 0].tolist() == [False, True]


@pytest.mark.parametrize("value", [[0.5], [0.5] * 3, np.zeros((3, 2)), []], ids=len)
def test_batched_reward_of_another_length_is_the_authors_mistake(vec: Vec, value: Any) -> None:
    venv = vec(BatchedLiteral, 1, 2)
    venv.text_env.value = value
    expected = rf"test/Env-v0: batched reward 'score' .* expected 2, got {len(value)}\. .* task is {venv.tasks[0].id}"
    with pytest.raises(RewardError, match=expected):
        step(venv, "a", "b")


@pytest.mark.parametrize("value", [0.5, None, np.float64(0.5), np.array(0.5)])
def test_batched_reward_that_is_one_value_is_the_authors_mistake(vec: Vec, value: Any) -> None:
    for group_size in (1, 2):
        venv = vec(BatchedLiteral, 1, group_size)
        venv.text_env.value = value
        with pytest.raises(RewardError, match=r"test/Env-v0: batched .*: expected .*, got a single"):
            step(venv, *["a"] * group_size)


def test_batched_reward_of_wrong_shape_is_the_authors_mistake(vec: Vec) -> None:
    venv = vec(BatchedLiteral, 1, 2)
    venv.text_env.value = np.zeros((2, 1))
    with pytest.raises(RewardError, match=r"reward 'score' .* one number .* shape \(1,\)"):
        step(venv, "a", "b")


def test_batched_reward_is_not_asked_about_nobody(vec: Vec) -> None:
    asked = []

    class Mean(Base):
        @reward(low=0, high=1, batched=True)
        def share(self, tasks: Sequence[Task], replies: Sequence[str]) -> list[float]:
            asked.append(list(replies))
            return [1 / len(replies)] * len(replies)

    venv = vec(Mean, 1, 2)
    step(venv, "a", "b")
    with pytest.raises(gymnasium.error.ResetNeeded):
        venv.step(["c", "d"])
    assert asked == [["a", "b"]]


# Gates


class Gated(Base):
    """The reply says what the condition does: a number, 'none' or 'fail'."""

    @reward(low=0, high=1, gate=Gate(on="quality", at_least=0.5))
    def short(self, task: Task, reply: str) -> float | None:
        return None if reply.endswith("!") else 0.75

    @reward(low=-1, high=1)
    def quality(self, task: Task, reply: str) -> float | None:
        word = reply.strip("!")
        return None if word == "none" else float(word)

    @reward(low=0, high=1, gate=Gate(on="short", at_least=0.5))
    def chained(self, task: Task, reply: str) -> float:
        return 1.0


def test_gated_reward_counts_from_the_threshold_on_and_raw_stays_visible(vec: Vec) -> None:
    rewards, info = step(vec(Gated, 1, 4), "0.49", "0.5", "1", "-1")
    assert rewards[:, 0].tolist() == [0, 0.75, 0.75, 0]
    assert rewards[:, 1].tolist() == [0.49, 0.5, 1, -1]
    assert info["raw"][:, 0].tolist() == [0.75] * 4
    assert info["applicable"].all()
    assert info["reward_components"]["short"].tolist() == [0, 0.75, 0.75, 0]


def test_gates_read_raw_values_and_do_not_chain(vec: Vec) -> None:
    rewards, _ = step(vec(Gated, 1, 1), "0")
    assert rewards[0].tolist() == [0, 0, 1]


def test_gate_on_a_reward_that_is_not_applicable_makes_it_not_applicable(vec: Vec) -> None:
    rewards, info = step(vec(Gated, 1, 1), "none")
    assert info["applicable"][0].tolist() == [False, False, True]
    assert not info["failed"].any()
    assert rewards[0].tolist() == [0, 0, 1]


def test_gate_on_a_reward_that_failed_makes_it_failed(vec: Vec) -> None:
    rewards, info = step(vec(Gated, 1, 1), "fail")
    assert info["failed"][0].tolist() == [True, True, False]
    assert info["applicable"].all()
    assert rewards[0].tolist() == [0, 0, 1]


def test_gated_reward_that_does_not_apply_does_not_fail_with_its_gate(vec: Vec) -> None:
    _, info = step(vec(Gated, 1, 1), "fail!")
    assert info["applicable"][0].tolist() == [False, True, False]
    assert info["failed"][0].tolist() == [False, True, False]


def test_gate_on_a_threshold_of_zero_or_less_is_no_free_pass_for_the_unscored(vec: Vec) -> None:
    class Lenient(Base):
        @reward(low=0, high=1, gate=Gate(on="quality", at_least=0))
        def short(self, task: Task, reply: str) -> float:
            return 1.0

        @reward(low=-1, high=1)
        def quality(self, task: Task, reply: str) -> float | None:
            return None if reply == "none" else float(reply)

    rewards, info = step(vec(Lenient, 1, 4), "0", "-0.1", "none", "fail")
    assert rewards[:, 0].tolist() == [1, 0, 0, 0]
    assert info["applicable"][:, 0].tolist() == [True, True, False, True]
    assert info["failed"][:, 0].tolist() == [False, False, False, True]
