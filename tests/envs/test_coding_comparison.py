import math
from typing import Any

import pytest
from gdpo_envs.coding.comparison import RULES, matches
from gdpo_sandbox import Opaque
from hypothesis import given
from hypothesis import strategies as st

NAN = float("nan")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text() | st.binary()
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner) | st.tuples(inner, inner), max_leaves=4)
FEW = st.sampled_from([None, False, 0, 1, 1.0, 2, NAN, "1", b"1", (), (1,), (True,), (NAN,), frozenset({1})])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner)
        | st.frozensets(HASHABLE)
        | st.sets(HASHABLE)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_every_value_is_exactly_itself(value: Any) -> None:
    assert matches("exact", value, value)


@given(VALUES, VALUES)
def test_exact_is_symmetric_and_stricter_than_equal(one: Any, other: Any) -> None:
    assert matches("exact", one, other) == matches("exact", other, one)
    if matches("exact", one, other):
        assert matches("equal", one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        (1.0, 1 + 0j),
        ([1], (1,)),
        ({1}, frozenset({1})),
        ("a", b"a"),
        (None, False),
        ([1, [2]], [1, [2.0]]),
        ({"a": 1}, {"a": True}),
        ({1: "a"}, {1.0: "a"}),
        ({1}, {True}),
        ({(1,)}, {(1.0,)}),
        ([], ()),
        ({}, set()),
        ("", None),
    ],
)
def test_exact_tells_types_apart(one: Any, other: Any) -> None:
    assert not matches("exact", one, other)
    assert not matches("exact", other, one)


@pytest.mark.parametrize("value", [NAN, [NAN], {"a": NAN}, {NAN}, {NAN: 1}, (1, (NAN,))])
@pytest.mark.parametrize("rule", ["exact", "equal"])
def test_nan_equals_nan(rule: str, value: Any) -> None:
    copy = eval(repr(value), {"nan": float("nan")})
    assert matches(rule, copy, value)
    assert not matches(rule, [copy], value)


@pytest.mark.parametrize("rule", ["exact", "equal", "json"])
def test_order_matters_in_lists_and_not_in_dicts_and_sets(rule: str) -> None:
    assert not matches(rule, [1, 2], [2, 1])
    assert matches(rule, {"b": 2, "a": 1}, {"a": 1, "b": 2})
    assert matches("exact", {3, 1, 2}, {1, 2, 3})


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        (True, 1, True),
        (1.0, 1, True),
        ([1, 2.0], [1.0, 2], True),
        ((1,), [1], False),
        ({1.0: 2}, {1: 2}, True),
        ({1, 2}, frozenset({1.0, 2}), True),
        (0.1 + 0.2, 0.3, False),
        (-1_000_001, -1_000_000, False),
        ("1", 1, False),
        (None, 0, False),
    ],
)
def test_equal_is_pythons_own(answer: Any, expected: Any, right: bool) -> None:
    assert matches("equal", answer, expected) == right == (answer == expected)


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ((1, 2), [1, 2], True),
        ([(1,), [2]], [[1], [2]], True),
        ({1: "a"}, {"1": "a"}, True),
        ({"1": (1,)}, {"1": [1]}, True),
        (1.0, 1, False),
        (True, 1, False),
        ([1, 2], [1], False),
        ({True: 1}, {"True": 1}, False),
        ({1, 2}, [1, 2], False),
        ("12", ["1", "2"], False),
    ],
)
def test_json_knows_neither_tuples_nor_keys_that_are_numbers(answer: Any, expected: Any, right: bool) -> None:
    assert matches("json", answer, expected) == right


def test_json_only_takes_off_one_list() -> None:
    assert matches("json_only", 5, [5])
    assert matches("json_only", [5], [5])
    assert matches("json_only", [1, 2], [[1, 2]])
    assert not matches("json_only", 5, [[5]])
    assert not matches("json_only", True, [1])


@pytest.mark.parametrize(
    ("rule", "answer", "expected", "right"),
    [
        ("set", [2, 1, 1], {1, 2}, True),
        ("set", (1, 2), {1, 2}, True),
        ("set", [1], {1, 2}, False),
        ("set", [[1]], {1}, False),
        ("set", 3, {3}, False),
        ("tuple", [1, 2], (1, 2), True),
        ("tuple", [2, 1], (1, 2), False),
        ("tuple", None, (), False),
        ("true", [0], True, True),
        ("true", "", False, True),
        ("true", None, False, True),
        ("true", 1, False, False),
        ("relative:0.001", 1000.5, 1000, True),
        ("relative:0.001", 1002, 1000, False),
        ("relative:0.001", "1000", 1000, False),
        ("relative:0.001", True, 1, False),
        ("absolute:1e-06", 0.3300000001, 0.33, True),
        ("absolute:1e-06", 0.331, 0.33, False),
        ("absolute:1e-06", NAN, 0.33, False),
        ("absolute:1e-06", None, 0.33, False),
        ("root:0.0001", -0.5, [1, 2], True),
        ("root:0.0001", 1, [-6, 11, -6, 1], True),
        ("root:0.0001", 3.0, [-6, 11, -6, 1], True),
        ("root:0.0001", 1.5, [-6, 11, -6, 1], False),
        ("root:0.0001", math.inf, [1, -2, 1], False),
        ("root:0.0001", 10**4000, [0, 0], False),
    ],
)
def test_other_rules(rule: str, answer: Any, expected: Any, right: bool) -> None:
    assert matches(rule, answer, expected) == right


@pytest.mark.parametrize(
    ("answer", "expected", "plain", "tolerant"),
    [
        ("1 2\n3\n", "1 2 3", True, True),
        ("  1\t2\r\n3", "1 2 3\n\n", True, True),
        ("1 2", "1 2 3", False, False),
        ("yes", "YES", False, False),
        ("01", "1", False, False),
        ("", " \n", True, True),
        ("0.3333333", "0.33333333", False, True),
        ("0.334", "0.33333333", False, False),
        ("5.0", "5", False, True),
        ("1e3", "1000", False, True),
        (".5", "0.5", False, True),
        ("1000000.1", "1000000.9", False, True),
        ("-1000001", "-1000000", False, False),
        ("nan", "NaN", False, False),
        ("inf", "1e999", False, False),
        ("١", "1", False, False),
        ("0x10", "16", False, False),
        ("1_0", "10", False, False),
        ("YES 0.50000001", "YES 0.5", False, True),
        ("NO 0.5", "YES 0.5", False, False),
    ],
)
def test_text_is_compared_by_tokens_and_numbers_only_where_the_task_says_so(
    answer: str, expected: str, plain: bool, tolerant: bool
) -> None:
    assert matches("tokens", answer, expected) == plain
    assert matches("tokens:1e-06", answer, expected) == tolerant


class Impostor(int):
    """Equal to everything, as a program would like its answer to be."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize("impostor", [Impostor(7), Opaque("Yes", "<Yes>"), object()])
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "tokens"])
def test_object_that_is_not_plain_data_is_never_right(rule: str, impostor: Any) -> None:
    expected = {"set": {1}, "tuple": (1,), "true": False, "json_only": [1], "root": [0, 0]}.get(rule, 1)
    rule = f"{rule}:0.1" if rule in ("relative", "absolute", "root") else rule
    assert not matches(rule, impostor, expected)
    assert not matches("exact", [impostor], [1])
    assert not matches("equal", [impostor], [1])


@pytest.mark.parametrize("rule", ["exact", "equal", "json", "json_only", "set", "tuple", "true"])
@pytest.mark.parametrize("deep", [False, True])
def test_deep_answers_do_not_blow_the_stack(rule: str, deep: bool) -> None:
    answer: Any = ()
    for _ in range(200_000):
        answer = (answer,) if deep else [answer]
    matches(rule, [answer], [1])
    assert not matches("set", [answer], {1})
    assert not matches("exact", answer, [[[]]])


@pytest.mark.timeout(30)  # a second is plenty in linear time; quadratic time would take hours
@pytest.mark.parametrize("make", [list, tuple])
def test_numbers_that_share_a_hash_are_looked_up_at_once(make: Any) -> None:
    numbers = [number * (2**61 - 1) for number in range(1, 300_000)]
    assert not matches("set", make(numbers), {1, 2})
    assert not matches("set", make(numbers), {0, numbers[0]})
    assert matches("set", make([numbers[0]] * 300_000), {numbers[0]})


@given(st.lists(FEW), st.sets(FEW))
def test_a_list_is_the_set_that_python_makes_of_it(answer: list[Any], expected: set[Any]) -> None:
    assert matches("set", answer, expected) == matches("equal", set(answer), expected)
    assert matches("set", [*expected, *expected], expected)


@pytest.mark.timeout(30)  # a second is plenty in linear time; quadratic time would take hours
@pytest.mark.parametrize(
    "answer", ["1 " * 2_000_000, "1" * 4_000_000, "1." * 2_000_000, "-" * 4_000_000, "\n" * 4_000_000]
)
def test_huge_output_is_compared_at_once(answer: str) -> None:
    for expected in ("1 2 3", answer, answer + "0"):
        matches("tokens", answer, expected)
        matches("tokens:1e-06", answer, expected)


def test_object_counts_as_true_as_in_python() -> None:
    assert matches("true", Opaque("Match", "<re.Match>"), True)
    assert not matches("true", Opaque("Match", "<re.Match>"), False)


def test_unknown_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rule 'same'"):
        matches("same", 1, 1)


@pytest.mark.parametrize(
    ("rule", "answer", "right"),
    [
        ("tokens", "yes 0.5", False),
        ("tokens_any_case", "yes 0.5", True),
        ("tokens_any_case", "yEs 0.5001", False),
        ("tokens_any_case:0.001", "yEs 0.5001", True),
        ("tokens_any_case", "no 0.5", False),
    ],
)
def test_case_of_letters_counts_unless_the_task_says_otherwise(rule: str, answer: str, right: bool) -> None:
    assert matches(rule, answer, "YES 0.5") == right
