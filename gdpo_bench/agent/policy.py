"""A policy: a causal language model with the tokenizer that speaks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gdpo_bench.core import DataError, GdpoBenchError, Message

logging.disable_progress_bar()  # small models load at once; the bars would only tear ours apart


class ContextError(GdpoBenchError, ValueError):
    """A prompt that leaves no room for a reply."""


@dataclass(frozen=True)
class Policy:
    """A model and its tokenizer, whose chat template turns messages into tokens."""

    model: Any
    """A transformers causal language model."""
    tokenizer: Any
    """A transformers tokenizer with a chat template, an end and a padding token."""
    mixed_precision: bool = False
    """Whether matrix products are computed in bfloat16, from weights in float32."""

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

    def to(self, device: str) -> Policy:
        """The policy with its model moved to a device."""
        return Policy(self.model.to(device), self.tokenizer, self.mixed_precision)

    def precision(self) -> torch.autocast:
        """The context in which the model is called."""
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.mixed_precision)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, ready for the policy's reply.

        Raises:
            DataError: The chat template refuses the messages.
        """
        return self._tokens(self._text(messages, reply_next=True))

    def encode_answer(self, message: Message, *, finished: bool = True) -> list[int]:
        """Token ids of what the environment answers, to follow the tokens of a reply.

        Chat templates write a whole conversation, some with a system message of their own at its beginning. So the
        answer is what a conversation becomes longer by when it is added.

        Args:
            message: The answer.
            finished: Whether the reply ended with the end token; otherwise that is put in.

        Raises:
            DataError: The chat template refuses the message.
        """
        before = self._text(_EXCHANGE, reply_next=False)
        after = self._text([*_EXCHANGE, message], reply_next=True)
        end = self.tokenizer.eos_token
        _, ended, rest = before.rpartition(end)
        text = (rest if ended else "") + after.removeprefix(before)
        return ([] if finished else [self.end_token]) + self._tokens(text)

    def decode(self, completions: Sequence[Sequence[int]]) -> list[str]:
        """The texts of completions, without special tokens."""
        texts: list[str] = self.tokenizer.batch_decode(completions, skip_special_tokens=True)
        return texts

    @property
    def end_token(self) -> int:
        """The token that ends a reply."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def context(self) -> int | None:
        """Tokens of prompt and reply together at most; None where the model sets no bound."""
        config = self.model.config
        return getattr(getattr(config, "text_config", config), "max_position_embeddings", None)

    def check_room(self, tokens: int, max_new_tokens: int, task_id: str) -> None:
        """Make sure that a reply fits behind a prompt.

        Raises:
            ContextError: It does not.
        """
        if self.context is not None and tokens + max_new_tokens > self.context:
            raise ContextError(
                f"The prompt of task {task_id} has {tokens} tokens, to which {max_new_tokens} may be added "
                f"(max_new_tokens), but the policy reads {self.context} at most. Choose a smaller max_new_tokens, "
                "a policy with a longer context, or an environment with shorter prompts."
            )

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names and values of the weights as a checkpoint of the whole model holds them, adapters merged in."""
        if not hasattr(self.model, "get_base_model"):
            yield from self.model.state_dict().items()
            return
        base = self.model.get_base_model()
        # Not merged in place: taking an adapter out again leaves rounding behind in half precision.
        deltas = {
            f"{name}.base_layer.weight": module.get_delta_weight(adapter)
            for name, module in base.named_modules()
            if hasattr(module, "get_delta_weight")
            for adapter in module.active_adapters
        }
        for name, value in base.state_dict().items():
            if "lora_" not in name:
                yield name.replace(".base_layer", ""), value + deltas[name] if name in deltas else value

    def _text(self, messages: Sequence[Message], *, reply_next: bool) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=reply_next
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(f"The policy's chat template refuses messages of the roles {roles}: {error}") from error
        return text.encode(errors="replace").decode()  # tokenizers refuse unpaired surrogates

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


_EXCHANGE: list[Message] = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
