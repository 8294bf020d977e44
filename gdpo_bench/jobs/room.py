"""Whether a reply fits behind each prompt of a job, found before the policy is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gdpo_bench.agent.options import EMBEDDED_CONFIGS, EmbeddedConfig
from gdpo_bench.agent.policies.embedded import build_tokenizer, conversation_text
from gdpo_bench.agent.policies.warm_start import build_corpus, tokenizer_texts
from gdpo_bench.agent.policy import Chat
from gdpo_bench.agent.rollouts import check_room
from gdpo_bench.core import DeclarationError, Message, Task, TextEnv, make_env, spec
from gdpo_bench.core.foreign import defined_at
from gdpo_bench.core.text import HALF_A_CHARACTER, is_text
from gdpo_bench.jobs.job import EnvChoice

_TEMPLATE = 1024
"""Tokens that a chat template adds to a conversation at most."""
_LONGER = "a policy with a longer context"


@dataclass(frozen=True)
class Room:
    """What a policy reads, known before it is made."""

    context: int
    """Tokens of prompt and reply at most."""
    count: Callable[[Sequence[Message]], int]
    """Tokens of a conversation."""
    slack: int
    """Tokens that a conversation may have beyond its bytes, as of a chat template; shorter prompts are not counted."""
    remedy: str
    """Who has more room."""


def check_prompts(env: TextEnv[Any], id: str, tasks: Iterable[Task], max_new_tokens: int, room: Room) -> None:
    """Refuse prompts behind which no reply fits.

    Args:
        env: The environment.
        id: Its id, for messages.
        tasks: Whose prompts.
        max_new_tokens: Longest reply, in tokens.
        room: Of the policy.

    Raises:
        ContextError: One is too long.
        DeclarationError: One is no text that could be written as UTF-8.
    """
    check_room(room.context, 0, max_new_tokens, "", room.remedy)
    certain = room.context - max_new_tokens - room.slack
    for task in tasks:
        messages = env.messages(task)
        if not all(is_text(message["content"]) for message in messages):
            raise DeclarationError(f"{id}: a message of task {task.id} holds {HALF_A_CHARACTER}.").at(
                defined_at(type(env).messages, "def")
            )
        if sum(len(message["content"].encode()) for message in messages) > certain:
            check_room(room.context, room.count(messages), max_new_tokens, f"{task.id} of {id}", room.remedy)


def pretrained_room(chat: Chat, context: int) -> Room:
    """What a given model reads."""
    return Room(context, lambda messages: len(chat.prompt(messages)), _TEMPLATE, _LONGER)


def embedded_room(name: str, config: EmbeddedConfig, imitated: Sequence[EnvChoice], warm_start: int) -> Room:
    """What an embedded policy reads. Its tokenizer is made where a prompt's bytes could be too many tokens.

    Args:
        name: Of the policy.
        config: Its size.
        imitated: Whose demonstrations make its tokenizer.
        warm_start: Seed of the warm start.
    """

    @cache
    def tokenizer() -> Any:
        envs = {spec(choice.id).id: make_env(choice.id, **choice.options) for choice in imitated}
        corpus = build_corpus(envs, config.warm_start_examples, warm_start)
        return build_tokenizer(tokenizer_texts(corpus), config.vocabulary)

    def count(messages: Sequence[Message]) -> int:
        return len(tokenizer()(conversation_text(messages), add_special_tokens=False)["input_ids"])

    larger = ["small"] if name == "mini" and config.positions < EMBEDDED_CONFIGS["small"].positions else []
    return Room(config.positions, count, 0, f"{_LONGER} ({', '.join([*larger, f'{name}:positions=…'])})")
