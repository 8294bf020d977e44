"""A policy: a causal language model with the tokenizer that speaks for it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import JsonValue
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gdpo_bench.agent.chat import Chat
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
    chat_template_kwargs: Mapping[str, JsonValue] = field(default_factory=dict)
    """Options of the chat template."""
    adapters: bool = True
    """Whether adapters of the model take part, if it has any."""

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
        return replace(self, model=self.model.to(device))

    def frozen(self) -> Policy:
        """The policy as it is now; one with adapters is its own model, in which they are switched off."""
        if hasattr(self.model, "disable_adapter"):
            return replace(self, adapters=False)
        return replace(self, model=copy.deepcopy(self.model).eval().requires_grad_(False))

    def log_probs(self, token_ids: torch.Tensor, columns: slice, temperature: float) -> torch.Tensor:
        """Log-probabilities of tokens given those before them.

        Args:
            token_ids: (N, L), padded on the right, which needs no mask.
            columns: Which of the L − 1 columns are wanted; column t belongs to token t + 1.
            temperature: Of the sampling that drew the tokens.

        Returns:
            (N, columns) in float32.
        """
        token_ids = token_ids[:, : columns.stop + 1].to(self.model.device)
        # What prompts predict is not needed, nor what follows the last token.
        with self.precision(), nullcontext() if self.adapters else self.model.disable_adapter():
            logits = self.model(
                input_ids=token_ids[:, :-1], use_cache=False, logits_to_keep=columns.stop - columns.start
            ).logits
        return log_probs_of(token_ids[:, columns.start + 1 :], logits, temperature)

    def precision(self) -> torch.autocast:
        """The context in which the model is called."""
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.mixed_precision)

    @cached_property
    def chat(self) -> Chat:
        """The tokenizer's chat template at work."""
        ends = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
        return Chat(self.tokenizer, self.chat_template_kwargs, ends)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, ready for the policy's reply.

        Raises:
            ChatTemplateError: The chat template refuses the messages.
        """
        return self.chat.prompt(messages)

    def encode_answer(self, messages: Sequence[Message], drawn_end: int | None) -> list[int]:
        """Token ids to follow those of a reply; see `Chat.answer`."""
        return self.chat.answer(messages, drawn_end)

    def decode(self, completions: Sequence[Sequence[int]]) -> list[str]:
        """The texts of completions, without the token that ended them and other special tokens."""
        ends, control = self.end_tokens, self.chat.control_tokens
        kept = [ids[:-1] if ids and ids[-1] in ends else ids for ids in completions]
        texts: list[str] = self.tokenizer.batch_decode([[id for id in ids if id not in control] for ids in kept])
        return texts

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that end a reply."""
        return self.chat.end_tokens

    @property
    def end_token(self) -> int:
        """The token that ends a reply which the policy did not draw."""
        return self.end_tokens[0]

    @cached_property
    def context(self) -> int | None:
        """Tokens of prompt and reply together at most; None where the model sets no bound."""
        return context_of(self.model.config)

    def check_room(self, tokens: int, max_new_tokens: int, task_id: str) -> None:
        """Make sure that a reply fits behind a prompt.

        Raises:
            ContextError: It does not.
        """
        check_room(self.context, tokens, max_new_tokens, task_id)

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


def context_of(config: Any) -> int | None:
    """Tokens that a model reads at most, by its transformers configuration; None where that sets no bound."""
    bound: int | None = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
    return bound


def check_room(
    context: int | None,
    tokens: int,
    max_new_tokens: int,
    task_id: str,
    remedy: str = "a policy with a longer context",
) -> None:
    """Make sure that a reply fits behind a prompt.

    Args:
        context: Tokens that the policy reads at most; None for any number.
        tokens: Of the prompt.
        max_new_tokens: Of the longest reply.
        task_id: Whose prompt; empty for no particular one.
        remedy: What has more room.

    Raises:
        ContextError: It does not.
    """
    if context is None or tokens + max_new_tokens <= context:
        return
    what = (
        f"The prompt of task {task_id} has {tokens} tokens, to which {max_new_tokens} may be added"
        if task_id
        else f"A reply may have {max_new_tokens} tokens"
    )
    raise ContextError(
        f"{what} (max_new_tokens), but the policy reads {context} at most, prompt and reply together. Choose a smaller "
        f"max_new_tokens{', an environment with shorter prompts,' if task_id else ''} or {remedy}."
    )


def token_log_probs(logits: torch.Tensor, token_ids: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability of each token given those before it.

    Args:
        logits: (N, L, V) of a causal model over `token_ids`.
        token_ids: (N, L).
        temperature: Of the sampling that drew the tokens.

    Returns:
        (N, L − 1); column t belongs to token t + 1.
    """
    return log_probs_of(token_ids[:, 1:], logits[:, :-1], temperature)


def log_probs_of(tokens: torch.Tensor, logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability (N, T) of each token, in float32.

    Args:
        tokens: (N, T).
        logits: (N, T, V), of the position before each token.
        temperature: Of the sampling that drew the tokens.
    """
    scaled = logits.float() if temperature == 1 else logits.float() / temperature
    # Not log_softmax and gather, which would hold (N, T, V) once more and takes nearly twice as long.
    return -F.cross_entropy(scaled.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)
