"""How much of the true calls a reply has."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from gdpo_envs.tool_calling.toolrl import Call, correctness, same_json
from hypothesis import given, settings
from hypothesis import strategies as st


def call(name: str = "f", **parameters: object) -> Call:
    return {"name": name, "parameters": parameters}


# Golden values


@pytest.mark.parametrize(
    ("given_calls", "true_calls", "expected"),
    [
        ([call(a=1, b=2), call(a=1, b=2)], [call(a=1, b=2)], 0),  # an extra call: R = 1/2 + 3 of S = 4 + 3
        ([call(a=1, b=2, c=3)], [call(a=1, b=2)], 2.5),  # an extra parameter
        ([call(a="1", b=2)], [call(a=1, b=2)], 1.5),  # a number as text
        ([call(a=True, b=2)], [call(a=1, b=2)], 1.5),
        ([call(a=1.0, b=2)], [call(a=1, b=2)], 3),
        ([call(a=1)], [call(a=1, b=2)], 0.75),  # R = 1 + 1/2 + 1 of S = 4
        ([call(a=1, c=2)], [call(a=1, b=2)], 0.5),  # R = 1 + 1/3 + 1 of S = 4
        ([call("g", a=1, b=2)], [call(a=1, b=2)], -3),  # parameters of another tool say nothing
        ([], [call(a=1)], -3),
        ([call()], [call()], 3),
        ([call(a=1)], [call()], 0),  # R = 1 + 0 of S = 2
        ([call(a=1)], [call(a=1), call(a=2)], 0),  # a missing call: R = 1/2 + 2 of S = 5
        ([call("g"), call("f")], [call("f"), call("g")], 3),
        ([call(a=1, b=2), call("g", x=0)], [call(a=1, b=2)], 0.5),  # R = 1/2 + 3 of S = 4 + 2
        ([call(a=1), call("g", x=0)], [call(a=1), call("h")], -2 / 3),  # R = 1/3 + 2 of S = 4 + 2
        ([call(a=0, b=0)], [call(a=1, b=2), call()], -1.2),  # R = 1/2 + 1 of S = 5
    ],
)
def test_correctness_follows_the_formula(given_calls: list[Call], true_calls: list[Call], expected: float) -> None:
    assert correctness(given_calls, true_calls) == pytest.approx(expected, abs=1e-12)


def test_best_assignment_counts_and_not_the_first_that_fits() -> None:
    """Greedy assignment gives {a: 1} the exact copy of the other call and ends at 0.43."""
    true = [call(a=1), call(a=1, b=1, c=2)]
    replies = [call(a=1, b=1, c=2), call(a=2, c=2)]
    assert correctness(replies, true) == pytest.approx(12 / 7)


def test_who_is_left_over_counts_too_and_not_only_what_is_earned() -> None:
    """The second call earns more, R = 1/2 + 3/2, but then S = 4 + 3; the first gives R = 1/2 + 4/3 of S = 4 + 2."""
    replies = [call(a=1, z=0), call(a=1)]
    assert correctness(replies, [call(a=1, b=1)]) == pytest.approx(-3 + 6 * (11 / 6) / 6)
    assert correctness(replies, [call(a=1, b=1)]) > -3 + 6 * 2 / 7


def test_reply_that_lists_every_call_earns_close_to_nothing() -> None:
    every = [call(name, x=x, y=y) for name in "fgh" for x in range(4) for y in range(4)]
    scores = [correctness(every, [one]) for one in every]
    assert scores == [pytest.approx(-3 + 6 * (1 / 48 + 3) / (1 + 48 * 3))] * 48


def test_task_without_true_calls_wants_none() -> None:
    assert correctness([], []) == 3
    assert correctness([call()], []) == -3
    assert correctness(None, []) == -3


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1], [True], False),
        ({"x": [1, {"y": 0}]}, {"x": [1, {"y": False}]}, False),
        ({"x": 1, "y": 2}, {"y": 2.0, "x": 1}, True),
        ([1, 2], [2, 1], False),
        ("a", "A", False),
        ("\ud800", "\ud800", True),
        (None, None, True),
        (None, 0, False),
        (2**53 + 1, float(2**53), False),
        ([], {}, False),
        ("", None, False),
    ],
)
def test_values_are_compared_as_json(a: object, b: object, equal: bool) -> None:
    assert same_json(a, b) is same_json(b, a) is equal


# Properties

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0, "1", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pq"), inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(
    lambda name, parameters: Call(name=name, parameters=parameters),
    st.sampled_from(["f", "g"]),
    st.dictionaries(st.sampled_from("abc"), values, max_size=3),
)
call_lists = st.lists(calls, max_size=4)
true_lists = st.lists(calls, min_size=1, max_size=4)


@given(call_lists, true_lists)
def test_correctness_lies_between_minus_3_and_3(given_calls: list[Call], true: list[Call]) -> None:
    assert -3 <= correctness(given_calls, true) <= 3


@given(call_lists, true_lists, st.randoms())
def test_order_of_calls_does_not_matter(given_calls: list[Call], true: list[Call], rng: Random) -> None:
    expected = correctness(given_calls, true)
    for one in (given_calls, true):
        rng.shuffle(one)
    assert correctness(given_calls, true) == pytest.approx(expected, abs=1e-12)


def assignments(given_calls: list[Call], true: list[Call]) -> Iterator[tuple[list[tuple[Call, Call]], list[Call]]]:
    """All ways to pair true calls with calls of their name, and the calls that are left over each time."""
    if not true:
        yield [], given_calls
        return
    first, *others = true
    for pairs, left in assignments(given_calls, others):
        yield pairs, left
    for i, given_call in enumerate(given_calls):
        if given_call["name"] == first["name"]:
            for pairs, left in assignments(given_calls[:i] + given_calls[i + 1 :], others):
                yield [(given_call, first), *pairs], left


def share(pairs: list[tuple[Call, Call]], left: list[Call], given_calls: list[Call], true: list[Call]) -> float:
    """R / S of an assignment, from the formula alone."""
    both = (Counter(c["name"] for c in given_calls) & Counter(c["name"] for c in true)).total()
    earned = both / (len(given_calls) + len(true) - both)
    for given_call, true_call in pairs:
        keys, true_keys = given_call["parameters"].keys(), true_call["parameters"].keys()
        earned += len(keys & true_keys) / len(keys | true_keys) if keys | true_keys else 1
        earned += sum(same_json(given_call["parameters"][k], true_call["parameters"][k]) for k in keys & true_keys)
    return earned / (1 + sum(1 + len(c["parameters"]) for c in (*true, *left)))


@settings(deadline=None)
@given(call_lists, true_lists)
def test_no_assignment_gives_more(given_calls: list[Call], true: list[Call]) -> None:
    best = max(share(pairs, left, given_calls, true) for pairs, left in assignments(given_calls, true))
    assert correctness(given_calls, true) == pytest.approx(-3 + 6 * best, abs=1e-12)


@given(call_lists, true_lists, st.lists(calls, min_size=1, max_size=3))
def test_a_superfluous_call_never_raises_a_score(given_calls: list[Call], true: list[Call], more: list[Call]) -> None:
    """A call is superfluous if the reply has all calls of its name that it can have, each as it should be."""
    exact = {c["name"] for c in true if c["name"] not in {g["name"] for g in given_calls}}
    answered = [c for c in true if c["name"] in exact] + given_calls
    superfluous = [c for c in more if c["name"] in exact or c["name"] not in {t["name"] for t in true}]
    with_them = correctness([*answered, *superfluous], true)
    assert with_them <= correctness(answered, true) + 1e-12
    if superfluous and correctness(answered, true) > -3:
        assert with_them < correctness(answered, true)


@given(true_lists, call_lists, st.randoms())
def test_nothing_that_holds_the_right_calls_and_more_beats_them(
    true: list[Call], more: list[Call], rng: Random
) -> None:
    listed = [*true, *more]
    rng.shuffle(listed)
    assert correctness(listed, true) <= 3
    assert (correctness(listed, true) == 3) is (not more)
    exact = sum(1 + len(c["parameters"]) for c in true)
    highest = (len(true) / len(listed) + exact) / (1 + exact + len(more))
    assert correctness(listed, true) <= -3 + 6 * highest + 1e-12


@given(call_lists, true_lists, st.randoms())
def test_order_of_keys_does_not_matter(given_calls: list[Call], true: list[Call], rng: Random) -> None:
    def reordered(value: object) -> object:
        if isinstance(value, dict):
            return {key: reordered(value[key]) for key in rng.sample(list(value), len(value))}
        return [reordered(inner) for inner in value] if isinstance(value, list) else value

    shuffled = [call(c["name"], **{k: reordered(c["parameters"][k]) for k in reversed(c["parameters"])}) for c in true]
    assert correctness(given_calls, shuffled) == correctness(given_calls, true)
    assert correctness(shuffled, true) == 3


@given(call_lists, true_lists)
def test_full_marks_if_and_only_if_the_calls_are_equal(given_calls: list[Call], true: list[Call]) -> None:
    def canonical(listed: list[Call]) -> list[str]:
        return sorted(json.dumps(_as_json_numbers(c), sort_keys=True) for c in listed)

    assert (correctness(given_calls, true) == 3) is (canonical(given_calls) == canonical(true))


def _as_json_numbers(value: object) -> object:
    """1 and 1.0 are one JSON number."""
    if isinstance(value, dict):
        return {key: _as_json_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_json_numbers(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(true_lists)
def test_each_further_corruption_costs_more(true: list[Call]) -> None:
    extra_calls = [correctness([*true, *[call("made up")] * n], true) for n in range(4)]
    assert all(after < before for before, after in pairwise(extra_calls))
    name, parameters = true[0]["name"], true[0]["parameters"]
    wider = [parameters | {f"made up {i}": 0 for i in range(n)} for n in range(4)]
    extra_keys = [correctness([call(name, **keys), *true[1:]], true) for keys in wider]
    assert extra_keys[0] == 3 > extra_keys[1] >= extra_keys[2] >= extra_keys[3]
    missing_calls = [correctness(true[:n], true) for n in range(len(true), -1, -1)]
    assert all(after < before for before, after in pairwise(missing_calls))
    assert missing_calls[-1] == -3


@given(true_lists, st.data())
def test_wrong_name_key_value_and_missing_call_cost(true: list[Call], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(true) - 1))
    missing = true[:index] + true[index + 1 :]
    renamed = [*missing, call("made up", **true[index]["parameters"])]
    assert correctness(missing, true) < 3
    assert correctness(renamed, true) <= correctness(missing, true)
    for key in true[index]["parameters"]:
        parameters = true[index]["parameters"]
        wrong_value = [*missing, {"name": true[index]["name"], "parameters": parameters | {key: "made up"}}]
        without = {k: v for k, v in parameters.items() if k != key}
        wrong_key = [*missing, {"name": true[index]["name"], "parameters": without | {"made up": parameters[key]}}]
        assert correctness(wrong_key, true) < correctness(wrong_value, true) < 3
