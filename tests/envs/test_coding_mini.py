"""What CodingMini promises to the embedded policy."""

import itertools
from itertools import islice
from random import Random

import pytest
from gdpo_envs.coding.mini import _ARGUMENTS, _CONSTANTS, _OPERANDS, _OPERATIONS, CodingMini, _cases

from gdpo_bench.core.scoring import score

DEMONSTRATIONS = 600


def test_tasks_are_many_and_splits_are_disjoint_by_content() -> None:
    env = CodingMini()
    train, evaluation = env.tasks("train"), env.tasks("eval")
    assert len(train) + len(evaluation) == 270
    assert len(evaluation) > 30
    assert not {task.prompt for task in train} & {task.prompt for task in evaluation}
    assert not {task.id for task in train} & {task.id for task in evaluation}


def test_formulas_of_different_value_differ_on_a_test() -> None:
    def values(formula: tuple[str, str, str], arguments: list[tuple[int, int]]) -> tuple[int, ...]:
        left, operation, right = formula
        combine = _OPERATIONS[operation][1]
        return tuple(combine(_OPERANDS[left][1](a, b), _OPERANDS[right][1](a, b)) for a, b in arguments)

    formulas = [
        (left, operation, right)
        for operation in _OPERATIONS
        for left, right in itertools.product(_OPERANDS, repeat=2)
        if not {left, right} <= _CONSTANTS
    ]
    many = [(a, b) for a in range(-12, 13) for b in range(-12, 13)]
    everywhere = {values(formula, many) for formula in formulas}
    tested = {values(formula, list(_ARGUMENTS)) for formula in formulas}
    assert len(everywhere) == len(tested)
    assert {min(pair) < 0 for pair in _ARGUMENTS} == {True, False}


def test_expected_values_are_those_of_the_reference() -> None:
    for task in CodingMini().tasks("eval"):
        scope: dict[str, object] = {}
        exec(task.solution or "", scope)  # our own formula, not a data set's
        assert [eval(f"f{case['input']}", scope) for case in task.tests] == [eval(c["output"]) for c in task.tests]
        assert task.tests == _cases(task.left, task.operation, task.right)


def test_reference_is_short_and_a_comment_is_too_long() -> None:
    env = CodingMini()
    for task in (*env.tasks("train"), *env.tasks("eval")):
        reply = env.reference(task) or ""
        assert len(reply) <= task.limit < len(reply) + len("# the sum of a and b\n")


@pytest.mark.usefixtures("engine")
def test_demonstrations_are_imperfect_on_every_reward() -> None:
    env = CodingMini()
    pairs = list(islice(env.demonstrations(Random(0)), DEMONSTRATIONS))
    train = {task.id for task in env.tasks("train")}
    assert all(task.id in train for task, _ in pairs)
    scores = score(env, "test", [task for task, _ in pairs], [reply for _, reply in pairs])
    assert not scores.failed.any()
    pass_rate, length, no_bug = scores.raw.mean(0)
    assert 0.3 < pass_rate < 0.6
    assert 0.4 < length < 0.7
    assert 0.4 < no_bug < 0.7
    assert 0.1 < (scores.values == 1).all(1).mean() < 0.5


def test_share_of_bugs_is_as_asked() -> None:
    def clean(bug_rate: float) -> float:
        demonstrations = islice(CodingMini(bug_rate=bug_rate).demonstrations(Random(0)), 2000)
        return sum("def f(a,b):return" in reply for _, reply in demonstrations) / 2000

    assert clean(0) == 1
    assert clean(1) == 0
    assert clean(0.25) == pytest.approx(0.75, abs=0.05)


def test_demonstrations_follow_from_the_seed() -> None:
    one, same, other = ([r for _, r in islice(CodingMini().demonstrations(Random(seed)), 50)] for seed in (3, 3, 4))
    assert one == same != other
