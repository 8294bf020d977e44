"""Expected outcomes are those of the leaderboard's own `ast_checker`, unless a test says otherwise."""

from itertools import permutations
from typing import Any

import pytest
from gdpo_envs.tool_calling.bfcl_checker import right_call, right_calls, right_value
from gdpo_envs.tool_calling.bfcl_reference import reference_calls
from gdpo_envs.tool_calling.toolrl import Call
from hypothesis import given
from hypothesis import strategies as st

STRING, INTEGER, FLOAT, BOOLEAN, DICT = ({"type": kind} for kind in ("string", "integer", "float", "boolean", "dict"))
DICT_LIST = {"type": "array", "items": {"type": "dict"}}


def array(inner: str, kind: str = "array") -> dict[str, Any]:
    return {"type": kind, "items": {"type": inner}}


def tool(name: str = "f", required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "parameters": {"type": "dict", "properties": properties, "required": list(required)}}


def call(name: str = "f", **parameters: object) -> Call:
    return {"name": name, "parameters": parameters}


@pytest.mark.parametrize(
    ("value", "accepted", "declared", "right"),
    [
        # Texts: case, spaces, quotes and some signs do not count.
        ("San Francisco, CA", ["san francisco,ca"], STRING, True),
        ("it's *2024-01_02*", ['IT"S 2024/01.02^'], STRING, True),
        ("a(b)", ["a b"], STRING, False),
        ("a;b", ["ab"], STRING, False),
        (5, ["5"], STRING, False),
        ("", ["a", ""], STRING, True),
        (None, [None, ""], STRING, True),
        (None, ["a", ""], STRING, False),
        (True, [True], STRING, True),
        # Numbers: 1 for 1.0, not 1.0 for 1; true is no number.
        (5, [5], INTEGER, True),
        (5.0, [5], INTEGER, False),
        ("5", [5], INTEGER, False),
        (True, [1], INTEGER, False),
        (5, [5.0], FLOAT, True),
        (5.5, [5, 5.5], FLOAT, True),
        (True, [1.0], FLOAT, False),
        (10**400, [5.0], FLOAT, False),
        (1, [True], BOOLEAN, False),
        (False, [True, False], BOOLEAN, True),
        # A variable's name in place of a value is taken literally.
        ("user_age", ["user_age"], INTEGER, True),
        ("User_Age", ["user_age"], INTEGER, False),
        (5, ["user_age"], INTEGER, False),
        # Lists: order and length count, and the items' type.
        (["A b", "c"], [["ab", "C"]], array("string"), True),
        (["c", "ab"], [["ab", "c"]], array("string"), False),
        (["ab"], [["ab", "c"]], array("string"), False),
        ("ab", [["ab"]], array("string"), False),
        ([1, 2], [[1.0, 2.0]], array("float"), False),
        ([1.5, 2], [[1, 2], [1.5, 2]], array("float"), True),
        ([1, 2], [[1, 2]], array("integer", "tuple"), True),
        ([], [["a"], ""], array("string"), True),
        ([[1, 2], [3]], [[[1, 2], [3]]], array("array"), True),
        # Dicts: each key has its own accepted values.
        ({"a": "X y", "b": 1}, [{"a": ["xy"], "b": [1, 2]}], DICT, True),
        ({"a": "xy", "b": 3}, [{"a": ["xy"], "b": [1, 2]}], DICT, False),
        ({"a": "xy"}, [{"a": ["xy"], "b": [1, ""]}], DICT, True),
        ({"a": "xy"}, [{"a": ["xy"], "b": [1]}], DICT, False),
        ({"a": "xy", "c": 1}, [{"a": ["xy"]}], DICT, False),
        ({"a": "z"}, [{"a": ["xy"]}, {"a": ["z"]}], DICT, True),
        ({}, [{"a": ["xy", ""]}, ""], DICT, True),
        ([], [{}], DICT, False),
        ([{"a": 1}, {"a": 2}], [[{"a": [1]}, {"a": [2, 3]}]], DICT_LIST, True),
        ([{"a": 2}, {"a": 1}], [[{"a": [1]}, {"a": [2]}]], DICT_LIST, False),
        ([{"a": 1}], [[{"a": [1]}, {"a": [2]}]], DICT_LIST, False),
        ([1], [[{"a": [1]}], ""], DICT_LIST, False),  # stops their code
        # Nothing is accepted at all.
        ("a", [], STRING, False),
    ],
)
def test_value_is_right_as_the_leaderboard_has_it(
    value: Any, accepted: list[Any], declared: dict[str, Any], right: bool
) -> None:
    assert right_value(value, accepted, declared) is right


@pytest.mark.parametrize(
    ("value", "accepted", "declared", "language", "right"),
    [
        ("5", [5], INTEGER, "java", True),
        (5, [5], INTEGER, "java", False),
        ("5", [5], {"type": "long"}, "java", False),
        ("5L", [5], {"type": "long"}, "java", True),
        ("ResultSet.TYPE", ["ResultSet.TYPE"], INTEGER, "java", True),
        ("new ArrayList<>(Arrays.asList(1, 2))", [[1, 2]], array("integer", "ArrayList"), "java", True),
        ("[1, 2]", [[1.0, 2.0]], array("float"), "javascript", True),
        ('{"a": "B", "c": [1]}', [{"a": ["b"], "c": [[1]]}], DICT, "javascript", True),
        ({"a": "b"}, [{"a": ["b"]}], DICT, "javascript", False),
        ("true", [True], {"type": "Boolean"}, "javascript", True),
    ],
)
def test_values_of_other_languages_are_texts_that_hold_literals(
    value: Any, accepted: list[Any], declared: dict[str, Any], language: str, right: bool
) -> None:
    assert right_value(value, accepted, declared, language) is right


WEATHER = tool("weather", ("city",), city=STRING, unit=STRING, days=INTEGER)
ACCEPTED = {"city": ["Oslo"], "unit": ["C", ""], "days": [1]}


@pytest.mark.parametrize(
    ("made", "right"),
    [
        (call("weather", city="Oslo", unit="C", days=1), True),
        (call("weather", days=1, city="Oslo"), True),
        (call("weather", city="Oslo", unit="F", days=1), False),
        (call("weather", city="Oslo"), False),  # not required, but not to be left out either
        (call("weather", unit="C", days=1), False),
        (call("weather", city="Oslo", days=1, hours=2), False),
        (call("Weather", city="Oslo", days=1), False),
    ],
)
def test_call_needs_the_name_the_required_parameters_and_no_others(made: Call, right: bool) -> None:
    assert right_call(made, WEATHER, ACCEPTED) is right


def test_parameter_that_the_answer_lacks_or_the_tool_lacks_is_wrong() -> None:
    assert not right_call(call("weather", city="Oslo", days=1), WEATHER, {"city": ["Oslo"]})
    assert not right_call(call("weather", city="Oslo", wind=1), WEATHER, {"city": ["Oslo"], "wind": [1]})


def test_calls_may_come_in_any_order_and_each_counts_once() -> None:
    tools, answers = [tool(x=INTEGER), tool("g", x=INTEGER)], [{"f": {"x": [1]}}, {"f": {"x": [2]}}, {"g": {"x": [1]}}]
    made = [call(x=1), call(x=2), call("g", x=1)]
    assert all(right_calls(order, answers, tools) for order in permutations(made))
    assert not right_calls(made[:2], answers, tools)
    assert not right_calls([*made, made[0]], answers, tools)
    assert not right_calls([made[0], made[0], made[2]], answers, tools)


def test_only_tool_is_meant_whatever_the_answer_calls_it() -> None:
    """As in `simple_363`, whose answer names a tool that is not offered."""
    assert right_calls([call("shop.f", x=1)], [{"f": {"x": [1]}}], [tool("shop.f", x=INTEGER)])


def test_true_calls_take_the_first_call_that_fits() -> None:
    """As the leaderboard does it: the loose answer takes the call that the tight one would need."""
    tools, answers = [tool(x=INTEGER)], [{"f": {"x": [1, 2]}}, {"f": {"x": [1]}}]
    assert right_calls([call(x=2), call(x=1)], answers, tools)
    assert not right_calls([call(x=1), call(x=2)], answers, tools)


def test_reference_takes_the_first_value_that_is_right() -> None:
    tools = [tool(required=("a", "e"), a=INTEGER, b=STRING, c=DICT, d=STRING, e=STRING)]
    answer = {"f": {"a": ["x", 2.0, 3], "b": ["", "B"], "c": [{"p": ["q", "r"], "s": [""]}], "d": [""], "e": [""]}}
    assert reference_calls([answer], tools) == [call(a="x", b="B", c={"p": "q"}, e="")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)
declarations = st.sampled_from([STRING, INTEGER, FLOAT, BOOLEAN, DICT, DICT_LIST, array("integer"), array("string")])


@given(json_values, st.lists(json_values.filter(lambda value: not isinstance(value, dict)), max_size=3), declarations)
def test_any_value_is_right_or_wrong(value: Any, accepted: list[Any], declared: dict[str, Any]) -> None:
    assert right_value(value, accepted, declared) in (True, False)
