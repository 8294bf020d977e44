"""Small chat templates with the traits of real ones, each beside what it must write, and tokenizers for them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

_SPECIAL = re.compile(r"<\|[^|<>{}\s]+\|>|<｜[^｜<>]+｜>|<(?:start|end)_of_[a-z]+>|<\|turn>|<turn\|>")

_ROLES = {"<|system|>", "<|user|>", "<|assistant|>"}


def make_tokenizer(template: str, eos: str, special: tuple[str, ...] = ()) -> Any:
    """A byte-level tokenizer with a template, whose turn marks are single tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        ["one line"], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<bos>",
        eos_token=eos,
        pad_token="<pad>",
        additional_special_tokens=sorted({*_SPECIAL.findall(template), *_ROLES, *special}),
        chat_template=template,
    )


@dataclass(frozen=True)
class Sample:
    """A template and what must stand in a dialogue's tokens."""

    template: str
    eos: str
    ends: tuple[str, ...]
    """What ends a reply, first what the template writes."""
    begin: Callable[[str], str]
    """The prompt for a question."""
    roles: tuple[str, ...]
    """In which answers may come."""
    follows: Callable[[str, str], str]
    """What follows a reply that the template would have ended, for role and text of the answer."""
    refused: str = ""
    """A role that it cannot take."""


# Ends turns by a token that is not the tokenizer's, and the conversation by that; drops thoughts; passes over tools.
SHUTS = Sample(
    template=(
        "{% for m in messages %}{% if m.role in ['user', 'system'] %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n"
        "{% elif m.role == 'assistant' %}<|assistant|>\n{{ m.content.split('</think>')[-1].strip() }}<|end|>\n"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
    ),
    eos="<|endoftext|>",
    ends=("<|end|>", "<|endoftext|>"),
    begin=lambda question: f"<|user|>\n{question}<|end|>\n<|assistant|>\n",
    roles=("user",),
    follows=lambda role, answer: f"\n<|user|>\n{answer}<|end|>\n<|assistant|>\n",
    refused="tool",
)

# Ends no turn: the next one's beginning does. Fills in a thought where there is none.
OPENS = Sample(
    template=(
        "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\n<think></think>\n"
        "{{ m.content.split('</think>')[-1].strip() }}{% elif m.role == 'tool' %}<|observation|>\n[{{ m.content }}]"
        "{% else %}<|{{ m.role }}|>\n{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    eos="<|endoftext|>",
    ends=("<|user|>", "<|observation|>", "<|endoftext|>"),
    begin=lambda question: f"<|user|>\n{question}<|assistant|>",
    roles=("user", "tool"),
    follows=lambda role, answer: (
        f"<|user|>\n{answer}<|assistant|>" if role == "user" else f"<|observation|>\n[{answer}]<|assistant|>"
    ),
)

# Has no system role, wants roles to alternate, and ends turns by a token of its own.
ALTERNATES = Sample(
    template=(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate') }}{% endif %}"
        "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    eos="<eos>",
    ends=("<end_of_turn>", "<eos>"),
    begin=lambda question: f"<bos><start_of_turn>user\n{question.strip()}<end_of_turn>\n<start_of_turn>model\n",
    roles=("user",),
    follows=lambda role, answer: f"\n<start_of_turn>user\n{answer.strip()}<end_of_turn>\n<start_of_turn>model\n",
    refused="tool",
)

# Opens a thought in the prompt, writes thoughts only after the last question, and has an option.
THINKS = Sample(
    template=(
        "{% set ns = namespace(last=0) %}{% for m in messages %}"
        "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
        "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n"
        "{% if loop.index0 > ns.last %}<think>\n{{ m.content.split('</think>')[0] if '</think>' in m.content }}\n"
        "</think>\n\n{% endif %}{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
        "{% elif m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
        "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
        "{% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}{% endif %}"
    ),
    eos="<|im_end|>",
    ends=("<|im_end|>",),
    begin=lambda question: f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n<think>\n",
    roles=("user", "tool"),
    follows=lambda role, answer: (
        f"\n<|im_start|>user\n{answer}<|im_end|>\n<|im_start|>assistant\n<think>\n"
        if role == "user"
        else f"\n<|im_start|>user\n<tool_response>\n{answer}\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    ),
)

# Ends the last turn and an earlier one by different tokens, refuses its own marks in a reply, and tools.
RETURNS = Sample(
    template=(
        "{% for m in messages %}{% if m.role == 'assistant' %}{% if 'final:' in m.content %}"
        "{{ raise_exception('no marks in content') }}{% endif %}<|start|>assistant<|channel|>final<|message|>"
        "{{ m.content }}{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
        "{% elif m.role == 'tool' %}{{ raise_exception('no call') }}"
        "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    ),
    eos="<|return|>",
    ends=("<|return|>",),
    begin=lambda question: f"<|start|>user<|message|>{question}<|end|><|start|>assistant",
    roles=("user",),
    follows=lambda role, answer: f"<|start|>user<|message|>{answer}<|end|><|start|>assistant",
    refused="tool",
)

SAMPLES = {"shuts": SHUTS, "opens": OPENS, "alternates": ALTERNATES, "thinks": THINKS, "returns": RETURNS}

# Moves the system message to the last question, so that earlier turns change.
MOVES = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.last and messages[0].role == 'system' %}"
    "{{ messages[0].content }} {% endif %}{{ m.content }} [/INST]{% elif m.role == 'assistant' %}{{ m.content }}"
    "{{ eos_token }}{% endif %}{% endfor %}"
)
