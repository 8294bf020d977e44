import json
from pathlib import Path

import pytest
from gdpo_envs.tool_calling.toolrl import Call, correctness, format_reward, parse_calls
from hypothesis import given
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


def test_equal_calls_earn_3_whatever_the_format() -> None:
    assert score(CALL, call(x=1)) == 3
    assert score(f"words {CALL} more words", call(x=1)) == 3
    assert score(f"<think>so</think>{CALL}", call(x=1)) == 3


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
