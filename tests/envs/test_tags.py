"""The one rule of well-formed replies, and that every environment keeps it."""

import pytest
from gdpo_envs.math.competition import Math, MathTask
from gdpo_envs.math.gsm8k import GSM8K, WordProblem
from gdpo_envs.math.mini import MathMini
from gdpo_envs.tags import END_TOKENS, after_only_thought, reply_pattern, without_end_tokens
from gdpo_envs.tool_calling.bfcl import BFCL3Simple, BFCLTask
from gdpo_envs.tool_calling.mini import ToolCallingMini
from gdpo_envs.tool_calling.toolrl_env import ToolCalling, ToolRLTask
from gdpo_envs.tool_dialog.errands import ToolDialog
from hypothesis import given
from hypothesis import strategies as st

from gdpo_bench.core import Turn

ANSWER = "<answer>18</answer>"
CALL = '<tool_call>\n{"name": "f", "parameters": {}}\n</tool_call>'
RESPONSE = "<response>18</response>"
FORMAT = reply_pattern("answer")


def _format_of_dialog(reply: str) -> bool:
    env = ToolDialog(count=20)
    task = env.tasks("train")[0]
    state = env.begin(task)
    env.respond(task, state, reply)
    return bool(env.format(task, Turn(reply, 0, True, state, ())))


_TOOL_TASK = ToolRLTask("p", "s", f"<think>a</think>\n{CALL}")
_QUESTION = BFCLTask("p", "simple_0", "simple", "s", [], [])
_MINI_TASK = ToolCallingMini().tasks("eval")[0]
FORMATS = {
    "GSM8K": (lambda reply: GSM8K().format(WordProblem("p", "18", "s"), reply), ANSWER),
    "Math": (lambda reply: Math().format(MathTask("p", "18", "s"), reply), r"\boxed{18}"),
    "MathMini": (lambda reply: MathMini().format(MathMini().tasks("eval")[0], reply), ANSWER),
    "ToolCalling": (lambda reply: ToolCalling().format(_TOOL_TASK, reply), CALL),
    "ToolCallingMini": (lambda reply: ToolCallingMini().format(_MINI_TASK, reply), CALL),
    "BFCL3": (lambda reply: BFCL3Simple().format(_QUESTION, reply), CALL),
    "ToolDialog": (_format_of_dialog, RESPONSE),
}
"""Environment → its format reward of a reply, and what follows the thought in a good one."""


@pytest.mark.parametrize("name", FORMATS)
def test_a_thought_that_the_prompt_opened_is_as_well_formed_as_one_with_its_own_tag(name: str) -> None:
    score, rest = FORMATS[name]
    for thought in ("<think>a</think>", "a</think>", "</think>", "\na\nb\n</think>\n\n", "\n<think>\na</think>\n"):
        assert score(thought + rest) == 1, thought
    for thought in ("", "<think>", "<think>a", "a</think>b</think>", "a<think>b</think>", "<think><think>a</think>"):
        assert score(thought + rest) == 0, thought


@pytest.mark.parametrize("name", FORMATS)
def test_an_end_of_turn_token_behind_the_reply_costs_nothing(name: str) -> None:
    score, rest = FORMATS[name]
    for end in ("<|im_end|>", "<|end|>\n", "\n</s>", "<|im_end|>\n<|endoftext|>\n"):
        assert score(f"<think>a</think>{rest}{end}") == 1, end


@pytest.mark.parametrize(
    "reply",
    [
        f"<|im_end|><think>a</think>{ANSWER}",
        f"<think>a</think><|im_end|>{ANSWER}",
        f"<think>a</think>{ANSWER}<|im_end|>bye",
        f"<think>a</think>{ANSWER}<|im_start|>assistant",
        f"<think>a</think>{ANSWER}<|im_end|>\n<|im_start|>user\nand?<|im_end|>",
        f"<think>a</think>{ANSWER}|im_end|",
    ],
)
def test_a_token_that_does_not_end_the_reply_costs_the_format(reply: str) -> None:
    assert not FORMAT.fullmatch(reply)


def test_text_behind_the_thought_is_no_block() -> None:
    assert FORMAT.fullmatch(f"a <answer> is near</think>{ANSWER}")
    assert not FORMAT.fullmatch(f"a</think>so {ANSWER}")
    assert not FORMAT.fullmatch(f"a</think>{ANSWER}<think>")
    assert not FORMAT.fullmatch(f"a</think>{ANSWER.replace('18', '<think>18')}")


@given(st.text(max_size=20), st.lists(st.sampled_from([*END_TOKENS, " ", "\n"]), max_size=5))
def test_end_tokens_are_taken_from_the_end_and_from_nowhere_else(reply: str, ends: list[str]) -> None:
    assert without_end_tokens(f"{reply}x{''.join(ends)}") == f"{reply}x"
    assert without_end_tokens(f"{''.join(ends)}x") == f"{''.join(ends)}x"


@given(st.text(alphabet="<>/think a\n"), st.text(alphabet="ab \n"))
def test_the_opening_tag_makes_no_difference_where_nothing_stands_before_it(thought: str, rest: str) -> None:
    thought = thought.replace("think>", "").lstrip()
    assert after_only_thought(f"{thought}</think>{rest}") == rest.strip()
    assert after_only_thought(f"<think>{thought}</think>{rest}") == rest.strip()
    assert after_only_thought(f"<think>{thought}{rest}") is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["<|im_end|>", " ", "</think>", "<think>", "<|im_end|> x"])
def test_megabytes_are_read_at_once(piece: str) -> None:
    assert bool(FORMAT.fullmatch(f"a</think>{ANSWER}{piece * 200_000}")) is (piece in ("<|im_end|>", " "))
