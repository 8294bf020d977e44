"""Chat templates: from messages to tokens, what ends a reply, and what follows it in several turns.

A template writes a whole conversation, and may write a turn otherwise once another follows it: drop a thought, or fill
one in. A policy must go on from what it drew. So a conversation is rendered with a mark behind the reply, and only what
stands after the mark is taken from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Any

from jinja2 import meta, nodes
from pydantic import JsonValue
from transformers.utils.chat_template_utils import _compile_jinja_template

from gdpo_bench.core import DataError, Message

_MARK = "Zq7Xmark"
"""Begins words that no message holds and that no template takes apart."""
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt"}
"""Variables of a template that are not the user's to set."""
_OURS = "The policy's chat template"
_ADVICE = "Choose another policy or environment, or give the tokenizer another `chat_template` and save it in a folder."


class ChatTemplateError(DataError):
    """A conversation that a policy's chat template cannot carry."""


@dataclass(frozen=True)
class _Joint:
    """What a template writes between a reply and the text that answers it."""

    tokens: list[int]
    closing: int
    """So many of them, the first, end the reply's turn; 0 where it ends by the next one's beginning."""
    end: int | None
    """The token by which the template ends a reply; None where it has none for that."""

    def covered_by(self, drawn_end: int) -> int:
        """How many of the tokens the token stands for by which a reply ended."""
        within = self.tokens[: self.closing] or self.tokens
        return within.index(drawn_end) + 1 if drawn_end in within else self.closing


@dataclass(frozen=True)
class Chat:
    """A tokenizer's chat template at work."""

    tokenizer: Any
    """A transformers tokenizer with a chat template."""
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
        return self.tokens(self._render(messages))

    def answer(self, messages: Sequence[Message], drawn_end: int | None) -> list[int]:
        """Token ids between a reply as it was drawn and the next one.

        Args:
            messages: The conversation so far; its last two are the reply and the answer to it.
            drawn_end: The token by which the reply ended; None where it was cut off, and the template's own comes in.

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
        system, user = _marked(["system", "user"])
        try:
            if user["content"] not in self._apply([user]):
                return False
        except ChatTemplateError:
            return False  # whatever it refuses, it is not the system message
        try:
            return system["content"] not in self._apply([system, user])
        except ChatTemplateError:
            return True

    @cached_property
    def variables(self) -> set[str]:
        """The options that the template has."""
        source = self.tokenizer.get_chat_template()
        environment = _compile_jinja_template(source).environment
        tree = environment.parse(source)
        own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
        asked = [test.node for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined")]
        asked += [default.node for default in tree.find_all(nodes.Filter) if default.name in ("default", "d")]
        own -= {node.name for node in asked if isinstance(node, nodes.Name)}  # set only where they are not given
        found = meta.find_undeclared_variables(tree) - own - set(environment.globals) - _GIVEN
        return {name for name in found if not name.endswith("_token")}

    def check(self, roles: Sequence[str], env: str) -> None:
        """Make sure that the template can carry an environment's conversations.

        Args:
            roles: Of a conversation's messages, the replies' among them.
            env: The environment, for messages.

        Raises:
            ChatTemplateError: The template refuses a role, leaves out what it says, or writes earlier messages
                otherwise once another follows.
        """
        messages, before = _marked(roles), dict[str, str]()
        for end, role in enumerate(roles, start=1):
            replied = end == len(roles) or roles[end] == "assistant"
            if role == "assistant" or not replied:
                continue
            headers = self._headers(messages[:end], env)
            if any(headers[mark] != header for mark, header in before.items()):
                raise ChatTemplateError(
                    f"{_OURS} writes earlier messages otherwise once one of the role {role} follows, as in {env}, so a "
                    f"dialogue cannot go on from what was read and drawn. {_ADVICE}"
                )
            before = headers

    def _headers(self, messages: Sequence[Message], env: str) -> dict[str, str]:
        """Text of a message → what the template writes before it; without replies, which stay as they were drawn."""
        roles = ", ".join(message["role"] for message in messages)
        try:
            text = self._render(messages)
        except ChatTemplateError as error:
            raise ChatTemplateError(f"{error} {env} holds such messages. {_ADVICE}") from error
        headers: dict[str, str] = {}
        for message in messages:
            header, written, text = text.partition(message["content"])
            if not written:
                raise ChatTemplateError(
                    f"{_OURS} leaves out, or moves, what a message of the role {message['role']} says, and {env} holds "
                    f"messages of the roles {roles}. {_ADVICE}"
                )
            if message["role"] != "assistant":
                headers[message["content"]] = header
        return headers

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
            conversation = _marked(["user", "assistant", role])
            _, reply, answer = (message["content"] for message in conversation)
            between, answered, _ = self._apply(conversation).rpartition(reply)[2].partition(answer)
            if not answered:
                raise ChatTemplateError(f"{_OURS} leaves out an answer of the role {role}. {_ADVICE}")
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
            _, found, after = self._render([*before, marked, answer]).rpartition(mark)
        except ChatTemplateError:
            found = after = ""
        if not found:  # a reply may hold what the template refuses or takes apart
            unsaid: Message = {"role": "assistant", "content": mark}
            said = [unsaid if message["role"] == "assistant" else message for message in messages]
            _, found, after = self._render(said).rpartition(mark)
        if not found:
            raise ChatTemplateError(f"{_OURS} leaves out a reply. {_ADVICE}")
        return after

    def _render(self, messages: Sequence[Message]) -> str:
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
            raise ChatTemplateError(f"{_OURS} refuses messages of the roles {roles}: {reason}.") from error
        return text.encode(errors="replace").decode()  # tokenizers refuse unpaired surrogates

    @cached_property
    def _known_ends(self) -> list[int]:
        return list(dict.fromkeys([int(self.tokenizer.eos_token_id), *self.model_ends]))

    @cached_property
    def _special(self) -> set[int]:
        added = {id for id, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return added | set(self.tokenizer.all_special_ids)

    @cached_property
    def _added(self) -> set[int]:
        return set(self.tokenizer.added_tokens_decoder) | self._special


def _marked(roles: Sequence[str]) -> list[Message]:
    """Messages whose texts are marks, each another."""
    return [{"role": role, "content": f"{_MARK}{number}."} for number, role in enumerate(roles)]


def _folded(messages: Sequence[Message]) -> list[Message]:
    """A system message at the beginning of the first user turn."""
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    text = "\n\n".join(filter(None, (system["content"], rest[0]["content"])))
    return [{"role": "user", "content": text}, *rest[1:]]
