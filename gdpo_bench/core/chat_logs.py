"""Chats as OpenAI's interface logs them: `messages`, whose last is the reply, or `choices` beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.task import Message


def read_messages(value: Any, where: str) -> list[Message]:
    """Messages with their texts; contents in parts are joined.

    Args:
        value: What a log holds as `messages`.
        where: The line, for messages.

    Raises:
        DataError: It is no list of messages, or one has no text, as one that only calls tools by the interface.
    """
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: expected messages, a list of {{role, content}}; got {value!r:.80}")
    return [_message(one, where) for one in value]


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        raise DataError(f"{where}: a message needs the text 'role'; got {value!r:.80}")
    content = value.get("content")
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        content = "".join(texts) if len(texts) == len(content) else None
    if not isinstance(content, str):
        more = "; it only calls tools, and environments here read texts" if value.get("tool_calls") else ""
        raise DataError(f"{where}: a message needs the text 'content'; got {value.get('content')!r:.60}{more}.")
    return {"role": value["role"], "content": content}


def read_choices(value: Any, where: str) -> list[str]:
    """The texts of the replies in `choices`, each a `message` or, of completions, a `text`.

    Raises:
        DataError: One is something else.
    """
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise DataError(f"{where}: expected choices, a list of {{message}}; got {value!r:.80}")
    return [
        one["text"] if isinstance(one.get("text"), str) else _message(one.get("message"), where)["content"]
        for one in value
    ]


def prompt_of(messages: Sequence[Message]) -> Sequence[Message]:
    """What was asked: all but the reply at the end, if there is one."""
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages
