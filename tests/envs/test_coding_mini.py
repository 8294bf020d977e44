"""What CodingMini promises to the embedded policy."""

import itertools
import re
from itertools import islice
from random import Random

import pytest
from gdpo_envs.coding.mini import (
    _ARGUMENTS,
    _CONSTANTS,
    _OPERANDS,
    _OPERATIONS,
    CodingMini,
    _cases,
    _formula,
    _values,
)

from gdpo_bench.core.scoring import score

DEMONSTRATIONS = 600


Function = tuple[int, ...]
GRID = [(a, b) for a in range(-12, 13) for b in range(-12, 13)]
ARGUMENT = re.compile(r"\b[ab]\b")


def function(code: str) -> Function:
    """What a formula computes, whichever of its arguments is called a."""
    swapped = ARGUMENT.sub(lambda found: "ba"["ab".index(found[0])], code)
    return min(tuple(eval(f"[{text} for a, b in GRID]", {"GRID": GRID})) for text in (code, swapped))


@pytest.fixture(scope="module")
def contents() -> dict[str, set[Function]]:
    env = CodingMini()
    return {split: {function(_formula(*task.formula)) for task in env.tasks(split)} for split in ("train", "eval")}


def test_at_least_a_hundred_held_out_functions_are_asked_nowhere_in_training_in_any_form(
    contents: dict[str, set[Function]],
) -> None:
    assert not contents["train"] & contents["eval"]
    assert len(contents["eval"]) >= 100
    assert len(contents["train"]) > 2 * len(contents["eval"])
    assert function("a-2*b") == function("b-2*a") != function("2*a-b")
    assert function("3*a*b") == function("b*3*a")


def test_demonstrations_never_show_a_held_out_function_not_even_by_mistake(contents: dict[str, set[Function]]) -> None:
    replies = [reply for _, reply in islice(CodingMini(bug_rate=0).demonstrations(Random(0)), 2000)]
    seen = {found[1] for reply in replies if (found := re.search(r"return (.*)", reply))}
    assert len(seen) > 300
    assert not {function(code) for code in seen} & contents["eval"]


def test_formulas_of_different_value_differ_on_a_test() -> None:
    formulas = [
        (left, operation, right)
        for operation in _OPERATIONS
        for left, right in itertools.product(_OPERANDS, repeat=2)
        if not {left, right} <= set(_CONSTANTS)
    ]
    everywhere = {tuple(_values(*formula, GRID)) for formula in formulas}
    tested = {tuple(_values(*formula, _ARGUMENTS)) for formula in formulas}
    assert len(everywhere) == len(tested)
    assert {min(pair) < 0 for pair in _ARGUMENTS} == {True, False}


def test_expected_values_are_those_of_the_reference() -> None:
    for task in CodingMini().tasks("eval"):
        scope: dict[str, object] = {}
        exec(task.solution or "", scope)  # our own formula, not a data set's
        assert [eval(f"f{case['input']}", scope) for case in task.tests] == [eval(c["output"]) for c in task.tests]
        assert task.tests == _cases(*task.formula)


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
