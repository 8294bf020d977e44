import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from gdpo_envs.tool_calling.toolrl import Call, correctness, format_reward, parse_calls, same_json
from hypothesis import given, settings
from hypothesis import strategies as st


def call(name: str = "f", **parameters: object) -> Call:
    return {"name": name, "parameters": parameters}


def block(*calls: Call) -> str:
    return "<tool_call>\n" + "".join(json.dumps(c) + "\n" for c in calls) + "</tool_call>"


def score(reply: str, *true: Call) -> float:
    return correctness(parse_calls(reply), true)


CALL = block(call(x=1))
RESPONSE = "<response>done</response>"


# Format


@pytest.mark.parametrize(
    ("reply", "calls", "response"),
    [
        (f"<think>so</think>\n{CALL}", True, False),
        (f"<think>so</think>{CALL}", True, False),
        (f"so</think>{CALL}", True, False),  # the prompt opened the thought
        (f"\n <think></think> \n\n{CALL} \n", True, False),
        (f"<think>so</think>\n{RESPONSE}", False, True),
        (f"<think>so</think>\n{CALL}\n{RESPONSE}", True, True),
        ("<think>so</think>", False, False),
        (f"<think>a <tool_call> might help, or a <response></think>\n{CALL}", True, False),
        ("<think>so</think><tool_call>not JSON</tool_call>", True, False),  # correctness says that
        ("<think>a < b</think><response>b > a, <b>so</b></response>", False, True),
    ],
)
def test_expected_blocks_in_order_are_the_right_format(reply: str, calls: bool, response: bool) -> None:
    assert format_reward(reply, calls, response) == 1


@pytest.mark.parametrize(
    ("reply", "calls", "response"),
    [
        ("", True, False),
        (CALL, True, False),
        (f"<think>so{CALL}", True, False),
        (f"<think>so</think>{CALL}{CALL}", True, False),
        (f"<think>so</think>{CALL}", False, True),
        (f"<think>so</think>{CALL}", False, False),
        (f"<think>so</think>{CALL}{RESPONSE}", True, False),
        (f"<think>so</think>{CALL}", True, True),
        (f"<think>so</think>{RESPONSE}{CALL}", True, True),
        (f"Sure. <think>so</think>{CALL}", True, False),
        (f"<think>so</think>{CALL} there", True, False),
        (f"<think>so</think>then {CALL}", True, False),
        (f"<think>so</think>{CALL}then{RESPONSE}", True, True),
        (f"<think>so</think><think>and</think>{CALL}", True, False),
        (f"<think><think>so</think>{CALL}", True, False),
        (f"<think>so</think></think>{CALL}", True, False),
        ("<think>so</think><tool_call>{}", True, False),
        ("<think>so</think>{}</tool_call>", True, False),
        ("<think>so</think><tool_call><tool_call>{}</tool_call></tool_call>", True, False),
        ("<think>so</think><response>a <tool_call> tag</response>", False, True),
        (f"<Think>so</Think>{CALL}", True, False),
        (f"<think>so</think >{CALL}", True, False),
    ],
)
def test_missing_repeated_misplaced_or_surplus_parts_are_the_wrong_format(
    reply: str, calls: bool, response: bool
) -> None:
    assert format_reward(reply, calls, response) == 0


@given(st.text(alphabet="<>/thinkresponse_call \n{}"), st.booleans(), st.booleans())
def test_format_of_any_text_is_0_or_1(reply: str, calls: bool, response: bool) -> None:
    assert format_reward(reply, calls, response) in (0.0, 1.0)


# Parsing


def test_calls_are_read_line_by_line_and_blank_lines_are_passed_over() -> None:
    reply = (
        f'<think></think><tool_call>\n\n{{"name":"f","parameters":{{"x":1}}}}\r\n \n{json.dumps(call("g"))}</tool_call>'
    )
    assert parse_calls(reply) == [call("f", x=1), call("g")]


def test_line_separators_inside_texts_do_not_break_a_line() -> None:
    assert parse_calls('<tool_call>{"name":"f","parameters":{"x":"a\u2028b\x85c"}}</tool_call>') == [
        call(x="a\u2028b\x85c")
    ]


def test_calls_after_the_last_thought_count_and_those_in_it_do_not() -> None:
    assert parse_calls(f"<think>{block(call('g'))}</think>{CALL}") == [call(x=1)]
    assert parse_calls(f"<think>perhaps <tool_call></think>{CALL}") == [call(x=1)]


def test_calls_of_all_blocks_count_so_that_none_can_be_hidden() -> None:
    assert parse_calls(CALL + block(call("g"))) == [call(x=1), call("g")]


def test_reply_without_block_has_no_calls() -> None:
    assert parse_calls("<think>so</think><response>no</response>") == []
    assert parse_calls("<tool_call>\n</tool_call>") == []


@pytest.mark.parametrize(
    "content",
    [
        "f(x=1)",
        '{"name":"f","parameters":{"x":1}',
        '{"name":"f"}',
        '{"parameters":{}}',
        '{"name":"f","parameters":[]}',
        '{"name":"f","parameters":"{}"}',
        '{"name":1,"parameters":{}}',
        '{"name":["f"],"parameters":{}}',
        '[{"name":"f","parameters":{}}]',
        '{"name":"f","parameters":{}}{"name":"f","parameters":{}}',
        '{"name":"f",\n"parameters":{}}',
        '{"name":"f","parameters":{"x":NaN}}',
        '{"name":"f","parameters":{"x":Infinity}}',
        "{'name':'f','parameters':{}}",
        "null",
        "[" * 100_000,
        '{"name":"f","parameters":' * 50_000,
        "9" * 100_000,
        '{"name":"f","parameters":{"x":' + "9" * 100_000 + "}}",
    ],
)
def test_block_that_is_not_one_call_a_line_is_unparsable_and_earns_the_lowest_correctness(content: str) -> None:
    reply = f"<tool_call>{content}</tool_call>"
    assert parse_calls(reply) is None
    assert score(reply, call()) == -3


@pytest.mark.parametrize(
    "content",
    [
        '{"name":"g","name":"f","parameters":{}}',
        '{"name":"f","parameters":{"x":1},"parameters":{}}',
        '{"name":"f","parameters":{"x":1,"x":1}}',
        '{"name":"f","parameters":{"x":1,"\\u0078":2}}',
        '{"name":"f","parameters":{"a":[{"x":1,"x":1}]}}',
        '{"name":"f","parameters":{},"id":1,"id":1}',
    ],
)
def test_a_key_that_stands_twice_is_no_json(content: str) -> None:
    """Readers differ on which value counts, so that a call could mean one thing here and another where it runs."""
    assert parse_calls(f"<tool_call>{content}</tool_call>") is None


def test_a_key_may_stand_in_two_objects() -> None:
    content = '{"name":"f","parameters":{"x":{"x":1},"y":{"x":1}}}'
    assert parse_calls(f"<tool_call>{content}\n{content}</tool_call>") == [call(x={"x": 1}, y={"x": 1})] * 2


def test_unclosed_block_is_unparsable() -> None:
    assert parse_calls('<tool_call>{"name":"f","parameters":{}}') is None


# Correctness: golden values


def test_equal_calls_earn_3_whatever_the_format() -> None:
    assert score(CALL, call(x=1)) == 3
    assert score(f"words {CALL} more words", call(x=1)) == 3
    assert score(f"<think>so</think>{CALL}", call(x=1)) == 3


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


# Correctness: properties

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


@given(st.text())
def test_any_text_can_be_scored(reply: str) -> None:
    assert -3 <= score(reply, call(x=1)) <= 3
    assert -3 <= score(f"<tool_call>{reply}</tool_call>", call(x=1)) <= 3


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "reply",
    [
        "<think>" * 150_000,
        "</think>" * 130_000,
        "<tool_call>" * 100_000,
        CALL * 20_000,
        "<tool_call>" + "[" * 1_000_000 + "</tool_call>",
        "<tool_call>" + "\n" * 1_000_000 + "</tool_call>",
        block(*[call(x=n % 7, y=0) for n in range(25_000)]),
        "<think></think>" + " " * 1_000_000,
        "\ud800\x00" * 500_000,
    ],
    ids=lambda reply: ascii(reply[:24]),
)
def test_megabyte_of_anything_is_scored_at_once(reply: str) -> None:
    assert format_reward(reply, True, False) in (0, 1)
    assert -3 <= score(reply, call(x=1, y=0), call(x=2, y=0), call(x=2), call("g")) <= 3


def test_true_answers_of_the_published_data_earn_full_marks(data_dir: Path) -> None:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(data_dir / "toolrl/rlla_4k_test.parquet").to_pylist()
    answers = [row["reward_model"]["ground_truth"] for row in rows]
    with_calls = [answer for answer in answers if "<tool_call>" in answer]
    assert (len(answers), len(with_calls)) == (80, 71)
    for answer in answers:
        assert format_reward(answer, "<tool_call>" in answer, "<response>" in answer) == 1
    for answer in with_calls:
        true = parse_calls(answer)
        assert true
        assert correctness(true[::-1], true) == 3
        assert correctness([*true, call("made up")], true) < 3
