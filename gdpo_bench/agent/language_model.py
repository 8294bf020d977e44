"""What is used of a transformers model and of its tokenizer, so that types say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from typing import Any, Protocol, Self, TypeGuard

import torch


class Config(Protocol):
    """A model's configuration; what else it has depends on the architecture."""

    architectures: list[str] | None

    def get_text_config(self) -> Any:
        """The part of it that is about text, of models of several media too."""

    def save_pretrained(self, save_directory: str | PathLike[str]) -> object:
        """Write it to a folder."""


class Logits(Protocol):
    """What a call of a model gives."""

    @property
    def logits(self) -> torch.Tensor:
        """(N, L, V), or the last of L where `logits_to_keep` says how many."""


class CausalLM(Protocol):
    """A transformers causal language model, perhaps with peft's adapters."""

    training: bool

    @property
    def config(self) -> Config:
        """Its configuration."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""

    def __call__(self, *, input_ids: torch.Tensor, **options: object) -> Logits:
        """Logits of the tokens that follow (N, L) tokens."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Its weights."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Its weights with their names."""

    def buffers(self) -> Iterator[torch.Tensor]:
        """Its tensors that are no weights."""

    def named_modules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """Its parts with their names."""

    def state_dict(self) -> Mapping[str, torch.Tensor]:
        """The values of weights and buffers by name."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say whether its weights are trained."""

    def train(self, mode: bool = True) -> Self:
        """Switch dropout and the like on."""

    def eval(self) -> Self:
        """Switch them off."""

    @property
    def to(self) -> Callable[..., Self]:
        """Moves it to a device."""

    def save_pretrained(self, save_directory: str | PathLike[str]) -> object:
        """Write it to a folder."""


class AdaptedLM(CausalLM, Protocol):
    """A causal language model with adapters, as peft makes it."""

    def disable_adapter(self) -> AbstractContextManager[None]:
        """The model without its adapters."""

    def get_base_model(self) -> CausalLM:
        """The model that has the adapters in it."""


def has_adapters(model: CausalLM) -> TypeGuard[AdaptedLM]:
    """Whether a model came from peft."""
    return hasattr(model, "get_base_model")


class Tokenizer(Protocol):
    """A transformers tokenizer with a chat template."""

    chat_template: Any
    pad_token: str | None

    @property
    def bos_token(self) -> str | None:
        """Begins a text, where there is such a token."""

    @property
    def eos_token(self) -> str | None:
        """Ends a text."""

    @property
    def unk_token(self) -> str | None:
        """Stands for what has no token."""

    @property
    def eos_token_id(self) -> int | None:
        """Id of `eos_token`."""

    @property
    def pad_token_id(self) -> int | None:
        """Id of `pad_token`."""

    @property
    def all_special_ids(self) -> Sequence[int]:
        """Ids of tokens that are no text."""

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Id → token, for tokens that were added to the vocabulary."""

    def __len__(self) -> int:
        """Size of the vocabulary."""

    def __call__(self, text: str | list[str], *, add_special_tokens: bool) -> Mapping[str, Any]:
        """`input_ids` of a text, or of each."""

    def apply_chat_template(
        self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool, **options: Any
    ) -> Any:
        """Messages as text, or as tokens."""

    def get_chat_template(self) -> str:
        """The template's source."""

    def batch_decode(self, sequences: list[list[int]]) -> list[str]:
        """The texts of tokens."""

    def decode(self, token_ids: torch.Tensor) -> object:
        """The text of tokens."""

    def convert_ids_to_tokens(self, ids: int | list[int]) -> Any:
        """The name of a token, or of each."""

    def save_pretrained(self, save_directory: str | PathLike[str]) -> object:
        """Write it to a folder."""
