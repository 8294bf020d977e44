"""Dialogues under the chat templates of real models, as TRL ships them, and with SmolLM2's own tokenizer.

tox -e trl
"""

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gdpo_bench.agent.policies.chat_template import check_conversation
from gdpo_bench.agent.policy import Chat, ChatTemplateError
from gdpo_bench.core import Message

from .chat_templates import make_tokenizer

CHATML = "\n<|im_start|>user\n{answer}<|im_end|>\n<|im_start|>assistant\n"
CHATML_TOOL = "\n<|im_start|>tool\n{answer}<|im_end|>\n<|im_start|>assistant\n"
QWEN_TOOL = "\n<|im_start|>user\n<tool_response>\n{answer}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
NEMOTRON_TOOL = QWEN_TOOL.replace("<|im_end|>", "\n<|im_end|>", 1)
LFM_TOOL = CHATML_TOOL.replace("{answer}", "<|tool_response_start|>{answer}<|tool_response_end|>")
THINK, NO_THINK = "<think>\n", "<think>\n\n</think>\n\n"
PHI = "\n<|user|>\n{answer}<|end|>\n<|assistant|>\n"
GEMMA = "\n<start_of_turn>user\n{answer}<end_of_turn>\n<start_of_turn>model\n"
GEMMA4 = "\n<|turn>user\n{answer}<turn|>\n<|turn>model\n"
LLAMA = (
    "<|start_header_id|>user<|end_header_id|>\n\n{answer}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)
COHERE = "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{answer}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
DEEPSEEK = "<｜User｜>{answer}<｜Assistant｜><think>\n"
DEEPSEEK_TOOL = "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{answer}<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"

FOLLOWS: dict[str, tuple[str, str | None, str | None]] = {
    "cohere": ("<|END_OF_TURN_TOKEN|>", COHERE, None),
    "cohere2": ("<|END_OF_TURN_TOKEN|>", COHERE + "<|START_RESPONSE|>", None),
    "deepseek_r1_distill": ("<｜end▁of▁sentence｜>", DEEPSEEK, DEEPSEEK_TOOL),
    "deepseekv3": ("<｜end▁of▁sentence｜>", DEEPSEEK, DEEPSEEK_TOOL),
    "diffusion_gemma": ("<turn|>", GEMMA4, None),
    "gemma": ("<end_of_turn>", GEMMA, None),
    "gemma3": ("<end_of_turn>", GEMMA, None),
    "gemma4": ("<turn|>", GEMMA4, None),
    "gemma4_v2": ("<turn|>", GEMMA4, GEMMA4.replace("user", "tool")),
    "gemma4_v3": ("<turn|>", GEMMA4, None),
    "gemma4_v4": ("<turn|>", GEMMA4, None),
    "gemma4_v5": ("<turn|>", GEMMA4, None),
    "glm4moe": ("<|user|>", "\n{answer}<|assistant|>", "\n<tool_response>\n{answer}\n</tool_response><|assistant|>"),
    "gptoss": ("<|return|>", "<|start|>user<|message|>{answer}<|end|><|start|>assistant", None),
    "idefics3": ("<end_of_utterance>", None, None),
    "lfm2": ("<|im_end|>", CHATML, LFM_TOOL),
    "lfm2_2_5": ("<|im_end|>", CHATML, CHATML_TOOL),
    "lfm2_2_5_v2": ("<|im_end|>", CHATML, CHATML_TOOL),
    "lfm2_2_5_vl": ("<|im_end|>", CHATML, CHATML_TOOL),
    "lfm2_v2": ("<|im_end|>", CHATML, LFM_TOOL),
    "llama3": ("<|eot_id|>", LLAMA, LLAMA.replace("user", "tool")),
    "llama3_1": ("<|eot_id|>", LLAMA, LLAMA.replace("user", "ipython").replace("{answer}", '"{answer}"')),
    "llama3_2": ("<|eot_id|>", LLAMA, LLAMA.replace("user", "ipython").replace("{answer}", '"{answer}"')),
    "llava_next": ("</s>", None, None),
    "muse_glimmer": (
        "<|eot|>",
        "<|start|>user<|message|>{answer}<|eot|><|start|>assistant",
        '<|start|>tool <|message|><tool_output name="">\n{answer}\n</tool_output><|eot|><|start|>assistant',
    ),
    "nemotron_3_5_lightning": ("<|im_end|>", CHATML + THINK, NEMOTRON_TOOL + THINK),
    "nemotron_3_nano": ("<|im_end|>", CHATML + THINK, NEMOTRON_TOOL + THINK),
    "nemotron_3_super": ("<|im_end|>", CHATML + THINK, NEMOTRON_TOOL + THINK),
    "nemotron_3_ultra": ("<|im_end|>", CHATML + THINK, NEMOTRON_TOOL + THINK),
    "phi3": ("<|end|>", PHI, None),
    "phi3_5": ("<|end|>", PHI, None),
    "qwen2_5": ("<|im_end|>", CHATML, QWEN_TOOL),
    "qwen2_5_vl": ("<|im_end|>", CHATML, CHATML_TOOL),
    "qwen3": ("<|im_end|>", CHATML, QWEN_TOOL),
    "qwen3_5_nothink": ("<|im_end|>", CHATML + NO_THINK, QWEN_TOOL + NO_THINK),
    "qwen3_5_think": ("<|im_end|>", CHATML + THINK, QWEN_TOOL + THINK),
    "qwen3_6": ("<|im_end|>", CHATML + THINK, QWEN_TOOL + THINK),
    "qwen3_8": ("<|im_end|>", CHATML + THINK, QWEN_TOOL + THINK),
    "qwen3_instruct_2507": ("<|im_end|>", CHATML, QWEN_TOOL),
    "qwen3_vl": ("<|im_end|>", CHATML, QWEN_TOOL),
    "smolvlm": ("<end_of_utterance>", None, None),
}
"""Template → the token by which it ends a reply, and what follows that, for answers of the roles user and tool; None
where it refuses the role or leaves it out."""
CASES = [
    (name, role)
    for name, found in FOLLOWS.items()
    for role, one in zip(("user", "tool"), found[1:], strict=True)
    if one
]
OTHER_EOS = {"phi3": "<|endoftext|>", "phi3_5": "<|endoftext|>", "glm4moe": "<|endoftext|>"} | {
    name: "<eos>" for name in FOLLOWS if "gemma" in name
}
"""Tokenizers whose end token is not the template's."""


def files_of(package: str, folder: str) -> dict[str, Path]:
    """Name → a file that an installed package brings along. It is not imported, which would want its dependencies."""
    try:
        installed = distribution(package).files or []
    except PackageNotFoundError:
        if "GDPO_BENCH_NEEDS_TRL" in os.environ:
            raise
        return {}
    return {path.name: Path(str(path.locate())) for path in installed if str(path.parent) == folder}


SHIPPED = {
    Path(name).stem: path for name, path in files_of("trl", "trl/chat_templates").items() if name.endswith("jinja")
}
needs_trl = pytest.mark.skipif(
    not SHIPPED and "GDPO_BENCH_NEEDS_TRL" not in os.environ, reason="TRL is not installed: tox -e trl"
)
_CHATS: dict[str, Chat] = {}

replies = st.text(max_size=20) | st.sampled_from(
    [
        "<think>so</think>4",
        "so</think>\n\n4",
        "<think>",
        "",
        "\n",
        "<tool_call>{}</tool_call>",
        "<|channel>",
        "<channel|>",
    ]
)
answers = st.text(st.sampled_from("abz019"), min_size=1, max_size=8)  # what no template trims or quotes


def chat_of(name: str) -> Chat:
    if name not in _CHATS:
        template = SHIPPED[name].read_text(encoding="utf-8")
        end = FOLLOWS[name][0]
        _CHATS[name] = Chat(make_tokenizer(template, OTHER_EOS.get(name, end), (end,)))
    return _CHATS[name]


@needs_trl
def test_the_templates_that_trl_ships_are_all_known_here() -> None:
    assert {name for name in SHIPPED if not name.endswith("_training")} == set(FOLLOWS)


@needs_trl
@pytest.mark.parametrize("name", FOLLOWS)
def test_a_reply_ends_at_what_the_template_writes_and_at_the_tokenizers_end(name: str) -> None:
    chat, (end, by_user, _) = chat_of(name), FOLLOWS[name]
    ends = chat.tokenizer.convert_ids_to_tokens(list(chat.end_tokens))
    assert set(ends) == {end, chat.tokenizer.eos_token} | ({"<|observation|>"} if name == "glm4moe" else set())
    assert ends[0] == end or by_user is None


@needs_trl
@pytest.mark.parametrize("role", ["user", "tool"])
@pytest.mark.parametrize("name", FOLLOWS)
def test_a_role_that_a_template_refuses_or_leaves_out_is_named(name: str, role: str) -> None:
    chat, (_, by_user, by_tool) = chat_of(name), FOLLOWS[name]
    roles = ["user", "assistant", role, "assistant", role]
    if (by_user if role == "user" else by_tool) is None:
        with pytest.raises(ChatTemplateError, match=f"role.* {role if by_user else 'user'}"):
            check_conversation(chat, roles, "an environment")
    else:
        check_conversation(chat, roles, "an environment")


@needs_trl
@pytest.mark.parametrize(("name", "role"), CASES)
@settings(max_examples=15)
@given(turns=st.lists(st.tuples(replies, answers), min_size=1, max_size=3))
def test_only_what_the_template_puts_between_stands_between_what_was_drawn(
    name: str, role: str, turns: list[tuple[str, str]]
) -> None:
    chat, (end, by_user, by_tool) = chat_of(name), FOLLOWS[name]
    follows = (by_user if role == "user" else by_tool) or ""
    end = "<|observation|>" if (name, role) == ("glm4moe", "tool") else end
    messages: list[Message] = [{"role": "user", "content": "2+2?"}]
    for number, (reply, answer) in enumerate(turns):
        messages += [{"role": "assistant", "content": reply}, {"role": role, "content": answer}]
        if number and follows == DEEPSEEK_TOOL:  # which opens the outputs only once
            separator = "\n" if name == "deepseek_r1_distill" else ""
            follows = separator + follows.removeprefix("<｜tool▁outputs▁begin｜>")
        read = chat.answer(messages, chat.tokenizer.convert_tokens_to_ids(end))
        assert chat.tokenizer.decode(read) == follows.format(answer=answer)
        assert chat.tokenizer.decode(chat.answer(messages, None)).endswith(end + follows.format(answer=answer)) or (
            name == "gptoss"  # which ends the last turn otherwise than the others
        )


@pytest.mark.parametrize("role", ["user", "tool"])
def test_dialogues_with_smollm2s_tokenizer_are_the_whole_conversation_as_its_template_writes_it(
    smollm2: Path, role: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    chat = Chat(tokenizer)
    assert tokenizer.convert_ids_to_tokens(list(chat.end_tokens)) == ["<|im_end|>"]
    check_conversation(chat, ["system", "user", "assistant", role, "assistant", role], "an environment")
    messages: list[Message] = [{"role": "user", "content": "What is 2 + 2?"}]
    tokens = chat.prompt(messages)
    for reply, answer in [("It is 5.", "No."), ("4\n", "Yes!")]:
        messages += [{"role": "assistant", "content": reply}, {"role": role, "content": answer}]
        drawn = [*chat.tokens(reply), chat.end_tokens[0]]
        tokens += drawn + chat.answer(messages, drawn[-1])
    assert tokenizer.decode(tokens) == tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert tokens == tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
