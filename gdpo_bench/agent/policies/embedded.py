"""The embedded policy: a small Qwen2-style model made on the spot, so that runs need no download."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import Message

PAD, END = "<pad>", "<eos>"

# Contents one after the other; a reply ends with the end token. Nothing else, since every token costs time.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}" + END + "{% endif %}{% endfor %}"
)


def conversation_text(messages: Sequence[Message]) -> str:
    """What the chat template makes of messages, before there is a tokenizer to apply it."""
    return "".join(message["content"] + (END if message["role"] == "assistant" else "") for message in messages)


def build_tokenizer(corpus: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with single digits, trained on the corpus.

    Args:
        corpus: Texts.
        vocabulary: Entries at most, the 256 bytes included.

    Returns:
        A transformers tokenizer that pads on the left and has a chat template.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def build_policy(config: EmbeddedConfig, corpus: Iterable[str], seed: int) -> Policy:
    """A policy with fresh weights.

    Args:
        config: Its size.
        corpus: Texts for the tokenizer.
        seed: Fixes the weights.

    Returns:
        The policy, on the CPU in float32.
    """
    tokenizer = build_tokenizer(corpus, config.vocabulary)
    torch.manual_seed(seed)
    architecture = _architecture(config, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    return Policy(Qwen2ForCausalLM(architecture), tokenizer)


def sizes(config: EmbeddedConfig) -> tuple[int, int]:
    """How many weights a policy has, and how many tokens its vocabulary, at most; nothing is made."""
    with torch.device("meta"):
        outline = Qwen2ForCausalLM(_architecture(config, config.vocabulary))
    return outline.num_parameters(), config.vocabulary


def _architecture(
    config: EmbeddedConfig, vocabulary: int, end: int | None = None, padding: int | None = None
) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        intermediate_size=config.intermediate_size,
        max_position_embeddings=config.positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=padding,
    )
