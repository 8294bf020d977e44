"""Dialogues go on from what the policy drew, whatever its chat template makes of earlier turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdpo_bench.agent.policies.chat_template import check_conversation, template_options
from gdpo_bench.agent.policy import Chat, ChatTemplateError
from gdpo_bench.core import Message

from .chat_templates import ALTERNATES, MOVES, OPENS, RETURNS, SAMPLES, SHUTS, THINKS, Sample, make_tokenizer

CHATS = {name: Chat(make_tokenizer(sample.template, sample.eos)) for name, sample in SAMPLES.items()}
USER, SYSTEM = {"role": "user", "content": "2+2?"}, {"role": "system", "content": "Be brief."}

words = st.sampled_from(
    [
        "<think>",
        "</think>",
        "4",
        " so ",
        "\n",
        "<answer>",
        "</answer>",
        "final:",
        "?",
        "!",
        "user",
        "é😀",
        "{{ m }}",
        ".",
    ]
)
texts = st.lists(words, max_size=6).map("".join) | st.text(max_size=8)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def ids(chat: Chat, tokens: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(chat.tokenizer.convert_tokens_to_ids(list(tokens)))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_reply_ends_at_what_the_template_writes_and_at_the_tokenizers_end(name: str) -> None:
    chat, sample = CHATS[name], SAMPLES[name]
    assert chat.end_tokens == ids(chat, sample.ends)


def test_a_reply_also_ends_at_the_tokens_of_the_models_generation_config() -> None:
    tokenizer = CHATS["shuts"].tokenizer
    eos, other = ids(CHATS["shuts"], ("<|endoftext|>", "<|user|>"))
    chat = Chat(tokenizer, model_ends=[other, eos])
    assert chat.end_tokens == (*ids(chat, ("<|end|>", "<|endoftext|>")), other)


def test_of_several_tokens_that_close_a_turn_the_known_end_is_the_end() -> None:
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|shut|><|end|>{% endfor %}"
    chat = Chat(make_tokenizer(template, "<|end|>"))
    assert chat.end_tokens == ids(chat, ("<|end|>",))
    unknown = Chat(make_tokenizer(template, "<eos>"))
    assert unknown.end_tokens == ids(unknown, ("<|shut|>", "<eos>"))
    dialogue = [user("a"), {"role": "assistant", "content": "b"}, user("c")]
    for either, end, rest in (
        (chat, "<|end|>", "<|user|>c<|shut|><|end|>"),
        (unknown, "<|shut|>", "<|end|><|user|>c<|shut|><|end|>"),
    ):
        follows = either.answer(dialogue, *ids(either, (end,)))  # type: ignore[arg-type]
        assert either.tokenizer.decode(follows) == rest


def test_a_template_of_plain_text_ends_replies_by_the_tokenizers_token_alone() -> None:
    chat = Chat(make_tokenizer("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "<eos>"))
    assert chat.end_tokens == ids(chat, ("<eos>",))
    dialogue = [user("a"), {"role": "assistant", "content": "b"}, user("c")]
    assert chat.tokenizer.decode(chat.answer(dialogue, chat.end_tokens[0])) == "\nuser: c\n"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
def test_only_what_the_template_puts_between_stands_between_what_was_drawn(name: str, data: st.DataObject) -> None:
    chat, sample = CHATS[name], SAMPLES[name]
    question = data.draw(texts.filter(bool))
    messages: list[Message] = [user(question)]
    assert chat.tokenizer.decode(chat.prompt(messages)) == sample.begin(question)
    for _ in range(data.draw(st.integers(1, 3))):
        reply, role, answer = data.draw(texts), data.draw(st.sampled_from(sample.roles)), data.draw(texts)
        messages += [{"role": "assistant", "content": reply}, {"role": role, "content": answer}]
        follows = sample.follows(role, answer)
        for end in chat.end_tokens:
            name_of_end = chat.tokenizer.convert_ids_to_tokens(end)
            read = chat.tokenizer.decode(chat.answer(messages, end))
            assert read == (follows.removeprefix(name_of_end) if sample is OPENS else follows)
        unfinished = chat.tokenizer.decode(chat.answer(messages, None))
        assert (
            unfinished
            == {SHUTS: "<|end|>", ALTERNATES: "<end_of_turn>", THINKS: "<|im_end|>"}.get(
                sample, "<|end|>" if sample is RETURNS else ""
            )
            + follows
        )


def test_a_token_that_begins_a_turn_and_ends_the_one_before_is_read_once_and_only_if_it_fits() -> None:
    chat = CHATS["opens"]
    dialogue: list[Message] = [user("a"), {"role": "assistant", "content": "b"}, {"role": "tool", "content": "c"}]
    by_end = {end: chat.tokenizer.decode(chat.answer(dialogue, *ids(chat, (end,)))) for end in OPENS.ends}
    assert by_end == {
        "<|observation|>": "\n[c]<|assistant|>",
        "<|user|>": "<|observation|>\n[c]<|assistant|>",
        "<|endoftext|>": "<|observation|>\n[c]<|assistant|>",
    }


@pytest.mark.parametrize(
    ("sample", "role", "message"),
    [
        (
            SHUTS,
            "tool",
            r"leaves out, or moves, what a message of the role tool says, and test/Env-v0 holds messages of",
        ),
        (
            ALTERNATES,
            "tool",
            r"refuses messages of the roles user, assistant, tool: Roles must alternate\. test/Env-v0",
        ),
        (RETURNS, "tool", r"refuses messages of the roles user, assistant, tool: no call\. test/Env-v0"),
    ],
)
def test_a_role_that_a_template_cannot_take_is_named_with_what_to_do(sample: Sample, role: str, message: str) -> None:
    chat = Chat(make_tokenizer(sample.template, sample.eos))
    check_conversation(chat, ["user"], "test/Env-v0")
    check_conversation(chat, ["user", "assistant", "user", "assistant", "user"], "test/Env-v0")
    with pytest.raises(ChatTemplateError, match=message + r".*Choose another policy"):
        check_conversation(chat, ("user", "assistant", role), "test/Env-v0")
    dialogue: list[Message] = [user("a"), {"role": "assistant", "content": "b"}, {"role": role, "content": "c"}]
    with pytest.raises(ChatTemplateError, match=f"role.* {role}"):
        chat.answer(dialogue, chat.end_tokens[0])


@pytest.mark.parametrize("sample", [OPENS, THINKS])
def test_templates_that_rewrite_earlier_replies_are_not_refused(sample: Sample) -> None:
    roles = ["system", "user", "assistant", "tool", "assistant", "user", "assistant", "tool"]
    check_conversation(Chat(make_tokenizer(sample.template, sample.eos)), roles, "test/Env-v0")


def test_a_template_that_rewrites_what_others_said_is_refused() -> None:
    chat = Chat(make_tokenizer(MOVES, "</s>"))
    check_conversation(chat, ["system", "user"], "test/Env-v0")
    check_conversation(chat, ["user", "assistant", "user"], "test/Env-v0")
    with pytest.raises(ChatTemplateError, match="test/Env-v0"):
        check_conversation(chat, ["system", "user", "assistant", "user"], "test/Env-v0")
    trims = "{% for m in messages %}{{ '' if loop.length > 1 else '>' }}{{ m.content }}|{% endfor %}"
    with pytest.raises(ChatTemplateError, match="writes earlier messages otherwise once one of the role user follows"):
        check_conversation(Chat(make_tokenizer(trims, "</s>")), ["user", "assistant", "user"], "test/Env-v0")


def test_a_template_that_writes_no_text_of_a_prompt_is_refused() -> None:
    parts = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}|{% endfor %}"
    chat = Chat(make_tokenizer(parts, "</s>"))
    assert not chat.folds_system
    with pytest.raises(ChatTemplateError, match="what a message of the role user says"):
        check_conversation(chat, ["user"], "test/Env-v0")


def test_a_system_message_goes_into_the_first_user_turn_where_there_is_no_role_for_it() -> None:
    chat = CHATS["alternates"]
    assert chat.folds_system
    check_conversation(chat, ["system", "user", "assistant", "user"], "test/Env-v0")
    assert chat.tokenizer.decode(chat.prompt([SYSTEM, USER])) == ALTERNATES.begin("Be brief.\n\n2+2?")  # type: ignore[list-item]
    assert chat.tokenizer.decode(chat.prompt([SYSTEM | {"content": ""}, USER])) == ALTERNATES.begin("2+2?")  # type: ignore[list-item]
    assert not CHATS["shuts"].folds_system
    written = chat.answer([SYSTEM, USER, {"role": "assistant", "content": "4"}, user("No.")], chat.end_tokens[0])  # type: ignore[list-item]
    assert chat.tokenizer.decode(written) == ALTERNATES.follows("user", "No.")


def test_options_reach_the_template_and_are_listed() -> None:
    chat = Chat(CHATS["thinks"].tokenizer, {"enable_thinking": False})
    assert chat.tokenizer.decode(chat.prompt([user("a")])).endswith("<think>\n</think>\n\n")
    assert template_options(chat.tokenizer) == {"enable_thinking"}
    dated = (
        "{% if not date is defined %}{% set date = strftime_now('%Y') %}{% endif %}{{ date }}{{ effort | default(3) }}"
    )
    assert template_options(make_tokenizer(dated + "{% set own = 1 %}{{ own }}{{ plain }}", "</s>")) == {
        "date",
        "effort",
        "plain",
    }


@pytest.mark.parametrize("special", [True, False])
def test_tags_of_a_pair_belong_to_the_text_and_turn_marks_do_not(special: bool) -> None:
    tokenizer = make_tokenizer(THINKS.template, "</s>", ("<think>", "</think>", "<s>") if special else ())
    chat = Chat(tokenizer)
    control = set(tokenizer.convert_ids_to_tokens(sorted(chat.control_tokens)))
    assert {"<|im_start|>", "<|im_end|>", "<bos>", "<pad>", "</s>"} <= control
    assert not {"<think>", "</think>"} & control
