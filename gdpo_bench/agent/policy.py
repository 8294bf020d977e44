"""A policy: a causal language model with the tokenizer that speaks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gdpo_bench.core import DataError, Message

logging.disable_progress_bar()  # small models load at once; the bars would only tear ours apart


@dataclass(frozen=True)
class Policy:
    """A model and its tokenizer, whose chat template turns messages into tokens."""

    model: Any
    """A transformers causal language model."""
    tokenizer: Any
    """A transformers tokenizer with a chat template, an end and a padding token."""

    @classmethod
    def load(cls, folder: Path) -> Policy:
        """Read a policy in float32 from a folder in the Hugging Face layout.

        Raises:
            DataError: The folder does not hold a whole policy.
        """
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
            return cls(model, AutoTokenizer.from_pretrained(folder, local_files_only=True))
        except (OSError, ValueError, SafetensorError) as error:
            raise DataError(f"{folder} does not hold a whole policy ({error}); delete it to make it anew.") from error

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, ready for the policy's reply."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        text = text.encode(errors="replace").decode()  # tokenizers refuse unpaired surrogates
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def encode_answer(self, message: Message) -> list[int]:
        """Token ids of what the environment answers, to follow the tokens of a reply."""
        return self.encode([message])

    def decode(self, completions: Sequence[Sequence[int]]) -> list[str]:
        """The texts of completions, without special tokens."""
        texts: list[str] = self.tokenizer.batch_decode(completions, skip_special_tokens=True)
        return texts

    @property
    def end_token(self) -> int:
        """The token that ends a reply."""
        return int(self.tokenizer.eos_token_id)
