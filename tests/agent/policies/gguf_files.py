"""GGUF files that tests write: a llama of a few thousand weights, laid out as llama.cpp's converter does."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
LETTERS = sorted(ByteLevel.alphabet())
TOKENS = [*LETTERS, "th", "<end>"]
HEADS, WIDTH, INNER, LAYERS = 2, 16, 32, 1
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers.": "blk.",
}


def make_llama(seed: int = 0) -> LlamaForCausalLM:
    """A model with random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(TOKENS),
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            rms_norm_eps=1e-5,
        )
    )


def write_gguf(
    path: Path,
    model: LlamaForCausalLM,
    *,
    architecture: str = "llama",
    keep: Callable[[str], bool] = lambda name: True,
) -> None:
    """Write a model in float32 with a byte-level tokenizer.

    Args:
        path: The file.
        model: What to write.
        architecture: What the file says it holds.
        keep: Which weights, by their names in GGUF.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(TOKENS) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(len(TOKENS) - 1)
    writer.add_eos_token_id(len(TOKENS) - 1)
    writer.add_chat_template(TEMPLATE)
    for name, weights in model.state_dict().items():
        values, short = weights.numpy().astype(np.float32), name
        if "q_proj" in name or "k_proj" in name:  # llama.cpp rotates neighbours, transformers halves
            values = values.reshape(HEADS, 2, WIDTH // HEADS // 2, WIDTH).swapaxes(1, 2).reshape(values.shape)
        for ours, theirs in _NAMES.items():
            short = short.replace(ours, theirs)
        if keep(short):
            writer.add_tensor(short, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
