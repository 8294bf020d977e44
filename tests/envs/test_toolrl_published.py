"""Golden values were computed with the published code, `verl/utils/reward_score/rlla.py` at 8cee13ec."""

import json
from collections import Counter

import pytest
from gdpo_envs.tool_calling.toolrl import Call, correctness, format_reward, parse_calls
from gdpo_envs.tool_calling.toolrl_published import published_correctness, published_format
from hypothesis import given
from hypothesis import strategies as st


def call(name: str = "f", **parameters: object) -> Call:
    return {"name": name, "parameters": parameters}


def reply_of(*calls: object, thought: str = "so") -> str:
    return f"<think>{thought}</think>\n<tool_call>\n" + "\n".join(map(json.dumps, calls)) + "\n</tool_call>"


TRUE = call(a=1, b=2)
RIGHT = reply_of(TRUE)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([TRUE], 3),
        ([TRUE, TRUE], 2.25),  # an extra call
        ([call(a=1, b=2, c=3)], 2.5),  # an extra parameter
        ([call(a="1", b=2)], 1.5),
        ([call(a=1.0, b=2)], 3),
        ([call(a=True, b=2)], 3),  # strict mode: 1.5
        ([call(a=1)], 0.75),
        ([call("g", a=1, b=2)], -3),  # calls of another name do not pair
        ([call("g"), TRUE], 2.25),
    ],
)
def test_correctness_is_that_of_the_published_code(calls: list[Call], expected: float) -> None:
    assert published_correctness(reply_of(*calls), [TRUE]) == pytest.approx(expected, abs=1e-12)


def test_calls_are_assigned_greedily() -> None:
    """Strict mode finds the assignment that earns 1.71."""
    true = [call(a=1), call(a=1, b=1, c=2)]
    given_calls = [call(a=1, b=1, c=2), call(a=2, c=2)]
    assert published_correctness(reply_of(*given_calls), true) == pytest.approx(3 / 7)
    assert correctness(given_calls, true) == pytest.approx(12 / 7)


@pytest.mark.parametrize("reply", ["", RIGHT, "<think>so</think>\n<response>no</response>"])
def test_true_answer_without_a_call_gives_0_whatever_the_reply(reply: str) -> None:
    assert published_correctness(reply, []) == 0


@pytest.mark.parametrize(
    ("reply", "format", "correct"),
    [
        (RIGHT, 1, 3),
        (f"\n {RIGHT} \n", 1, 3),
        ("<think>so</think>\n<tool_call>\nnot JSON\n</tool_call>", 1, -3),
        (RIGHT.replace("</think>\n", "</think>"), 0, 3),  # a line break is missing
        (RIGHT.replace("\n</tool_call>", "</tool_call>"), 0, 3),
        (RIGHT.replace("<think>so</think>\n", ""), 0, 3),
        (RIGHT.removeprefix("<think>"), 0, 3),  # also where the prompt opened the thought
        (reply_of(TRUE, thought="perhaps <tool_call>"), 0, -3),  # a mention of the tag is taken for it
        (reply_of(TRUE, thought="perhaps </tool_call>"), 0, 3),
        (RIGHT + reply_of(call("g")), 0, 3),  # only the first block is read
        (RIGHT + "\n<response>done</response>", 0, 3),
        (RIGHT + "<|im_end|> and more", 1, 3),
        ("<|im_start|>assistant\n" + RIGHT, 1, 3),
        (RIGHT.replace("</tool_call>", ""), 0, -3),
        (RIGHT.replace('"b": 2', '"b": NaN'), 1, 1.5),  # Python's JSON has NaN
        (RIGHT.replace('"a": 1', '"a": 0, "a": 1'), 1, 3),  # of keys that stand twice the last counts
        (RIGHT.replace("\n{", "\n\n{"), 1, 3),
        (RIGHT.replace("}\n", "}\n\n1\n"), 1, -3),
        (reply_of([]), 1, -3),
        (reply_of({"name": "f"}), 1, -3),
        (reply_of({"name": ["f"], "parameters": {}}), 1, -3),
        (reply_of({"name": "g"}, TRUE), 1, 2.25),  # what does not pair need not be a whole call
        ("", 0, -3),
    ],
)
def test_reading_of_a_reply_is_that_of_the_published_code(reply: str, format: int, correct: float) -> None:
    assert published_format(reply, expects_calls=True, expects_response=False) == format
    assert published_correctness(reply, [TRUE]) == pytest.approx(correct, abs=1e-12)


@pytest.mark.parametrize(
    ("reply", "calls", "response", "format"),
    [
        ("<think>so</think>\n<response>no</response>", False, True, 1),
        ("<think>so</think><response>no</response>", False, True, 0),
        ("<think>so</think>\n<response>no</response></response>", False, True, 0),
        ("<think>so</think>\n<response>a <tool_call> tag</response>", False, True, 1),
        (f"{RIGHT}\n<response>no</response>", True, True, 1),
        (f"{RIGHT}<response>no</response>", True, True, 0),
        ("<think>so</think>", False, False, 1),
        ("<think>so</think> then", False, False, 0),
        ("<think>so</think></think>", False, False, 1),
        ("<think>a</think>\n<response>b</response></think>", False, False, 1),
    ],
)
def test_format_depends_on_the_blocks_of_the_true_answer(reply: str, calls: bool, response: bool, format: int) -> None:
    assert published_format(reply, calls, response) == format


texts = st.dictionaries(st.sampled_from("abc"), st.sampled_from("pq"), max_size=3)
calls_of_texts = st.lists(
    st.builds(lambda name, parameters: Call(name=name, parameters=parameters), st.sampled_from("fg"), texts),
    min_size=1,
    max_size=4,
)


@given(calls_of_texts, calls_of_texts)
def test_strict_mode_differs_in_the_assignment_and_in_what_is_superfluous(
    given_calls: list[Call], true: list[Call]
) -> None:
    """For values that are texts. Of each name there are no more calls than true ones, or there are some."""
    reply = reply_of(*given_calls)
    published, strict = published_correctness(reply, true), correctness(parse_calls(reply), true)
    given_names, true_names = (Counter(c["name"] for c in listed) for listed in (given_calls, true))
    if given_names <= true_names:
        assert published <= strict + 1e-9
        if len(true) == 1:
            assert published == pytest.approx(strict)
    elif len(true) == 1:
        assert strict < published or strict == published == -3


@given(st.text(alphabet="<>/thinkresponse_call \n{}"), st.booleans(), st.booleans())
def test_what_the_published_code_calls_well_formed_has_the_tags_strict_mode_wants(
    reply: str, calls: bool, response: bool
) -> None:
    whole = f"<think>{reply.replace('<', '')}</think>\n<tool_call>\n{{}}\n</tool_call>"
    assert published_format(whole, True, False) == format_reward(whole, True, False) == 1
    assert published_format(reply, calls, response) in (0.0, 1.0)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "reply",
    [
        "<think>" * 150_000,
        "<think>" + "</think>\n" * 110_000 + "x",
        "<tool_call>" * 100_000,
        RIGHT * 10_000,
        "<think></think>\n<tool_call>\n" + "\n</tool_call" * 80_000,
        "<think></think>\n<tool_call>\n" + "[" * 1_000_000 + "\n</tool_call>",
        "<think></think>\n<tool_call>\n" + "9" * 1_000_000 + "\n</tool_call>",
        reply_of(*[call(a=n % 7) for n in range(25_000)]),
        reply_of({"name": "f", "parameters": {str(n): n for n in range(60_000)}}),
        "<think>" + " \n" * 500_000,
        "\ud800\x00" * 500_000,
    ],
    ids=lambda reply: ascii(reply[:24]),
)
def test_megabyte_of_anything_is_scored_at_once(reply: str) -> None:
    for calls in (True, False):
        for response in (True, False):
            assert published_format(reply, calls, response) in (0, 1)
    assert -3 <= published_correctness(reply, [call(a=1), call(a=2), call("g")]) <= 3
