import math
from collections.abc import Sequence
from typing import Any

import pytest

from gdpo_bench.core import DeclarationError, Gate, RewardSpec, Task, TextEnv, UnknownNameError, reward


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "two words"}, "must be an identifier"),
        ({"name": ""}, "must be an identifier"),
        ({"low": 1.0}, "low must be below high"),
        ({"low": 2.0}, "low must be below high"),
        ({"low": -math.inf}, "both finite"),
        ({"high": math.nan}, "both finite"),
        ({"kind": "ternary"}, "kind must be one of binary, graded, penalty; got 'ternary'"),
        ({"kind": "penalty"}, "a penalty is at most 0; got high=1"),
        ({"metric": "acuracy"}, "metric must be one of accuracy, format_rate, exceed_ratio, bug_ratio"),
        ({"weight": math.nan}, "weight must be finite"),
        ({"low": 0.5, "gate": Gate("other", 1)}, r"becomes 0, which lies outside \[0.5, 1"),
        ({"low": -2.0, "high": -1.0, "gate": Gate("other", 1)}, r"becomes 0, which lies outside \[-2.0, -1.0"),
    ],
)
def test_contradictory_declaration_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        RewardSpec(**{"name": "quality", "low": 0.0, "high": 1.0} | change)


def test_decorator_checks_when_the_class_is_written() -> None:
    with pytest.raises(DeclarationError, match="Reward 'quality': low must be below high"):

        @reward(low=1, high=0)
        def quality(self: object, task: Task, reply: str) -> float:
            return 0


def test_decorator_declares_all_that_it_is_given() -> None:
    gate = Gate("other", at_least=0.5)

    class Declared(TextEnv[Task]):
        @reward(low=-2, high=3, kind="graded", weight=0.25, gate=gate, metric="accuracy", batched=True)
        def quality(self, tasks: Sequence[Task], replies: Sequence[str]) -> list[float]:
            """Scores all at once."""
            return [0.0] * len(tasks)

        @reward(low=0, high=1)
        def other(self, task: Task, reply: str) -> float:
            return 0.0

    quality, other = Declared.reward_functions
    assert quality.spec == RewardSpec("quality", -2, 3, kind="graded", weight=0.25, gate=gate, metric="accuracy")
    assert other.spec == RewardSpec("other", 0, 1, kind="graded", weight=1.0, gate=None, metric=None)
    assert (quality.method, quality.batched, other.batched) == ("quality", True, False)


def test_shortfall_metrics_count_what_is_below_full_marks() -> None:
    counts = {m: RewardSpec("r", 0, 1, metric=m).full_marks_count() for m in ("accuracy", "format_rate")}  # type: ignore[arg-type]
    assert counts == {"accuracy": True, "format_rate": True}
    assert not RewardSpec("r", 0, 1, metric="exceed_ratio").full_marks_count()
    assert not RewardSpec("r", 0, 1, metric="bug_ratio").full_marks_count()


def test_gate_on_an_unknown_reward_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"gate of 'short' 'corect'. Did you mean 'correct'"):

        class Typo(TextEnv[Task]):
            @reward(low=0, high=1)
            def correct(self, task: Task, reply: str) -> float:
                return 0

            @reward(low=0, high=1, gate=Gate(on="corect", at_least=1))
            def short(self, task: Task, reply: str) -> float:
                return 0


def test_gate_on_itself_is_refused() -> None:
    with pytest.raises(DeclarationError, match="'short' is conditioned on itself"):

        class Circle(TextEnv[Task]):
            @reward(low=0, high=1, gate=Gate(on="short", at_least=1))
            def short(self, task: Task, reply: str) -> float:
                return 0


class Parent(TextEnv[Task]):
    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(split)]

    @reward(low=0, high=1, weight=2)
    def first(self, task: Task, reply: str) -> float:
        return 0

    @reward(low=0, high=1)
    def second(self, task: Task, reply: str) -> float:
        return 0


def test_rewards_keep_the_order_of_declaration_and_those_of_the_base_class_come_first() -> None:
    class Child(Parent):
        @reward(low=0, high=1)
        def a_third(self, task: Task, reply: str) -> float:
            return 0

    assert [spec.name for spec in Child().reward_specs] == ["first", "second", "a_third"]
    assert [spec.name for spec in Parent().reward_specs] == ["first", "second"]


def test_subclass_can_redeclare_a_reward_in_its_place() -> None:
    class Child(Parent):
        @reward(low=-1, high=1)
        def first(self, task: Task, reply: str) -> float:
            return 0

    assert [(spec.name, spec.low, spec.weight) for spec in Child().reward_specs] == [("first", -1, 1), ("second", 0, 1)]


def test_subclass_can_take_a_reward_away() -> None:
    class Child(Parent):
        first = None  # type: ignore[assignment]

    assert [spec.name for spec in Child().reward_specs] == ["second"]


def test_declared_reward_is_still_a_plain_method() -> None:
    assert Parent().first(Task("?"), "") == 0


@pytest.mark.parametrize("revision", [0, -1, True, "2", 1.5])
def test_a_revision_of_the_grader_is_a_whole_number_from_1_on(revision: object) -> None:
    with pytest.raises(DeclarationError, match="grader_revision must be a whole number from 1 on"):
        type("Odd", (Parent,), {"grader_revision": revision})
    assert type("Later", (Parent,), {"grader_revision": 2}).grader_revision == 2
