"""A policy: a causal language model, and the tokenizer that speaks for it.

A chat template writes a whole conversation, and may write a turn otherwise once another follows it: drop a thought, or
fill one in. A policy must go on from what it drew. So a conversation is rendered with a mark behind the reply, and only
what stands after the mark is taken from it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import JsonValue
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gdpo_bench.agent.language_model import CausalLM, Tokenizer, has_adapters
from gdpo_bench.core import DataError, Message

logging.disable_progress_bar()  # small models load at once; the bars would only tear ours apart

_MARK = "Zq7Xmark"
"""Begins words that no message holds and that no template takes apart."""
TEMPLATE = "The policy's chat template"
ADVICE = "Choose another policy or environment, or give the tokenizer another `chat_template` and save it in a folder."


class ChatTemplateError(DataError):
    """A conversation that a policy's chat template cannot carry."""


@dataclass(frozen=True)
class Policy:
    """A model and its tokenizer, whose chat template turns messages into tokens."""

    model: CausalLM
    tokenizer: Tokenizer
    """With a chat template, an end and a padding token."""
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
        if has_adapters(self.model):
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
        return log_probs_of(*self._predicted(token_ids, columns), temperature)

    def log_probs_and_entropy(
        self, token_ids: torch.Tensor, columns: slice, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `log_probs`; and the entropy (N, columns) of the distribution that each token is drawn from, in nats."""
        tokens, logits = self._predicted(token_ids, columns)
        return log_probs_of(tokens, logits, temperature), entropy_of(logits, temperature)

    def _predicted(self, token_ids: torch.Tensor, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The wanted tokens (N, columns), and the logits (N, columns, V) of the position before each."""
        token_ids = token_ids[:, : columns.stop + 1].to(self.model.device)
        # What prompts predict is not needed, nor what follows the last token.
        with self.precision(), self._adapters_off():
            logits = self.model(
                input_ids=token_ids[:, :-1], use_cache=False, logits_to_keep=columns.stop - columns.start
            ).logits
        return token_ids[:, columns.start + 1 :], logits

    def _adapters_off(self) -> AbstractContextManager[None]:
        return nullcontext() if self.adapters or not has_adapters(self.model) else self.model.disable_adapter()

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


def context_of(config: object) -> int | None:
    """Tokens that a model reads at most, by its transformers configuration; None where that sets no bound."""
    bound: int | None = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
    return bound


def entropy_of(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Entropy (N, T) of the distributions with logits (N, T, V), in nats and float32."""
    log_probs = F.log_softmax(logits.float() / temperature, -1)
    return -(log_probs.exp() * log_probs).sum(-1)


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


@dataclass(frozen=True)
class _Joint:
    """What a template writes between a reply and the text that answers it."""

    tokens: list[int]
    closing: int
    """How many of the first tokens end the reply's turn; 0 where the next turn's beginning ends it."""
    end: int | None
    """The token by which the template ends a reply; None where it has none for that."""

    def covered_by(self, drawn_end: int) -> int:
        """How many of the tokens the token stands for by which a reply ended."""
        within = self.tokens[: self.closing] or self.tokens
        return within.index(drawn_end) + 1 if drawn_end in within else self.closing


@dataclass(frozen=True)
class Chat:
    """A tokenizer's chat template at work."""

    tokenizer: Tokenizer
    kwargs: Mapping[str, JsonValue] = field(default_factory=dict)
    """Options of the template, such as `enable_thinking`."""
    model_ends: Sequence[int] = ()
    """Tokens that end a reply according to the model's generation config."""
    _joints: dict[str, _Joint] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Role of the answer → joint, as far as they have been needed."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, ready for a reply.

        Raises:
            ChatTemplateError: The template refuses the messages.
        """
        return self.tokens(self.render(messages))

    def answer(self, messages: Sequence[Message], drawn_end: int | None) -> list[int]:
        """Token ids between a reply as it was drawn and the next one.

        Args:
            messages: The conversation so far; its last two are the reply and the answer to it.
            drawn_end: The token by which the reply ended; None where it was truncated, and the template's own comes in.

        Raises:
            ChatTemplateError: The template refuses the answer or leaves it out.
        """
        joint = self._joint(messages[-1]["role"])
        tokens = self.tokens(self._after_reply(messages))
        return tokens if drawn_end is None else tokens[joint.covered_by(drawn_end) :]

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text, special tokens in it included."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that end a reply, first the one that the template writes."""
        return tuple(dict.fromkeys([*self._written_ends(), *self._known_ends]))

    @cached_property
    def control_tokens(self) -> frozenset[int]:
        """Special tokens that are no part of a text.

        Those of a pair, as `<think>` and `</think>` are special in some tokenizers, are markup and belong to the text.
        """
        tokenizer = self.tokenizer
        special = {id: str(tokenizer.convert_ids_to_tokens(id)) for id in self._special}
        names = set(special.values())
        names -= {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}  # <s> and </s>
        pairs = {name for name in names if name.startswith("<") and f"</{name[1:]}" in names}
        return frozenset(id for id, name in special.items() if name.replace("</", "<", 1) not in pairs)

    @cached_property
    def folds_system(self) -> bool:
        """Whether the template has no system role, so that a system message goes into the first user turn."""
        system, user = marked(["system", "user"])
        try:
            if user["content"] not in self._apply([user]):
                return False
        except ChatTemplateError:
            return False  # whatever it refuses, it is not the system message
        try:
            return system["content"] not in self._apply([system, user])
        except ChatTemplateError:
            return True

    def _written_ends(self) -> Iterator[int]:
        """The tokens by which the template ends a reply."""
        for role in ("user", "tool"):
            try:
                end = self._joint(role).end
            except ChatTemplateError:
                continue  # `check` speaks of it where an environment needs the role
            if end is not None:
                yield end

    def _joint(self, role: str) -> _Joint:
        """What stands between a reply and an answer of a role.

        Raises:
            ChatTemplateError: The template refuses the answer or leaves it out.
        """
        if role not in self._joints:
            conversation = marked(["user", "assistant", role])
            _, reply, answer = (message["content"] for message in conversation)
            between, answered, _ = self._apply(conversation).rpartition(reply)[2].partition(answer)
            if not answered:
                raise ChatTemplateError(f"{TEMPLATE} leaves out an answer of the role {role}. {ADVICE}")
            try:
                _, replied, after = self._apply(conversation[:2], reply_next=False).rpartition(reply)
            except ChatTemplateError:
                replied = after = ""
            self._joints[role] = self._split(self.tokens(between), self.tokens(after if replied else ""))
        return self._joints[role]

    def _split(self, tokens: list[int], last: list[int]) -> _Joint:
        """Find the end of a reply's turn.

        Args:
            tokens: Between the reply and its answer.
            last: After a reply that is the last message.
        """
        shared = (one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(tokens, last, strict=False)))
        if turn := [token for token in shared if token in self._added]:
            end = next((token for token in turn if token in self._known_ends), turn[0])
            return _Joint(tokens, tokens.index(end) + 1, end)
        final = next((token for token in last if token in self._added), None)
        if final is None:  # a turn ends by the next one's beginning
            return _Joint(tokens, 0, next((token for token in tokens if token in self._added), None))
        replaced = bool(tokens) and tokens[0] in self._added  # it ends otherwise where another turn follows
        return _Joint(tokens, int(replaced), final)

    def _after_reply(self, messages: Sequence[Message]) -> str:
        """What the template writes behind the last reply."""
        mark = _MARK + "."
        *before, reply, answer = messages
        marked: Message = {"role": "assistant", "content": reply["content"] + mark}
        try:
            _, found, after = self.render([*before, marked, answer]).rpartition(mark)
        except ChatTemplateError:
            found = after = ""
        if not found:  # a reply may hold what the template refuses or takes apart
            unsaid: Message = {"role": "assistant", "content": mark}
            said = [unsaid if message["role"] == "assistant" else message for message in messages]
            _, found, after = self.render(said).rpartition(mark)
        if not found:
            raise ChatTemplateError(f"{TEMPLATE} leaves out a reply. {ADVICE}")
        return after

    def render(self, messages: Sequence[Message]) -> str:
        """The text of a conversation, up to where a reply begins."""
        if messages and messages[0]["role"] == "system" and self.folds_system:
            messages = _folded(messages)
        return self._apply(messages)

    def _apply(self, messages: Sequence[Message], *, reply_next: bool = True) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=reply_next, **self.kwargs
            )
        except Exception as error:  # a template is somebody else's program
            roles, reason = ", ".join(message["role"] for message in messages), str(error).rstrip(".")
            raise ChatTemplateError(f"{TEMPLATE} refuses messages of the roles {roles}: {reason}.") from error
        return text.encode(errors="replace").decode()  # tokenizers refuse unpaired surrogates

    @cached_property
    def _known_ends(self) -> list[int]:
        own = self.tokenizer.eos_token_id
        return list(dict.fromkeys([*([] if own is None else [own]), *self.model_ends]))

    @cached_property
    def _special(self) -> set[int]:
        added = {id for id, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return added | set(self.tokenizer.all_special_ids)

    @cached_property
    def _added(self) -> set[int]:
        return set(self.tokenizer.added_tokens_decoder) | self._special


def marked(roles: Sequence[str]) -> list[Message]:
    """Messages whose texts are marks, each another."""
    return [{"role": role, "content": f"{_MARK}{number}."} for number, role in enumerate(roles)]


def _folded(messages: Sequence[Message]) -> list[Message]:
    """A system message at the beginning of the first user turn."""
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    text = "\n\n".join(filter(None, (system["content"], rest[0]["content"])))
    return [{"role": "user", "content": text}, *rest[1:]]
