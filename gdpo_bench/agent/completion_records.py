"""What a line of a file of completions says: which task it is about, and what was replied.

Lines of ours, JSON lines with `task_id` or `question`, and `replies`; of GSM8K's published completions; chats as
OpenAI's interface logs them; TRL's logged completions (`prompt`, `completion`) and verl's dumps (`input`, `output`);
and any others, by a mapping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdpo_bench.core import DataError, Message, UnknownNameError
from gdpo_bench.core.chat_logs import read_choices, read_messages
from gdpo_bench.core.env import Script
from gdpo_bench.core.records import json_records, mapped, parquet_table

MAPPED = ("task_id", "question", "messages", "reply", "replies", "labels")
"""What a mapping may say the place of."""
_PAIRS = (("prompt", "completion"), ("input", "output"))
"""Keys of the prompt and the reply in TRL's logs and in verl's."""


@dataclass(frozen=True)
class CompletionRecord:
    """One line."""

    replies: list[Script]
    """None, where they stand in `chat` behind the prompt."""
    labels: list[bool | None] = field(default_factory=list)
    """As many as replies, or none."""
    task_id: str | None = None
    question: str | None = None
    """The prompt as a text: the task's own, or all messages as a chat template laid them out."""
    chat: list[Message] | None = None
    """The messages of the prompt, and perhaps of the replies and of what was answered to them."""

    def __str__(self) -> str:
        """What it is about, in a few words."""
        if self.task_id is not None:
            return f"task_id {self.task_id!r:.60}"
        asked = self.question
        if self.chat is not None:
            users = [message["content"] for message in self.chat if message["role"] == "user"]
            asked = users[-1] if users else self.chat[0]["content"]
        return f"{(asked or '').strip()!r:.60}"


def completion_records(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[tuple[str, CompletionRecord]]:
    """Each line's or row's place, for messages, and content.

    Args:
        path: JSON lines, perhaps compressed (`.gz`), or parquet.
        mapping: One of `MAPPED` → key where it stands; `data.text` is a key within another.

    Raises:
        DataError: The file cannot be read, or a line has another form.
        UnknownNameError: A mapping of something else.
    """
    for name in mapping or ():
        if name not in MAPPED:
            raise UnknownNameError("part of a line of completions", name, MAPPED)
    rows = _parquet_rows(path) if path.suffix == ".parquet" else json_records(path)
    for where, content in rows:
        yield where, _record(content if mapping is None else _as_mapped(content, mapping, where), where)


def script_of(messages: Sequence[Message]) -> Script:
    """The replies among messages: a text, or the texts of several turns."""
    turns = [message["content"] for message in messages if message["role"] == "assistant"]
    return turns[0] if len(turns) == 1 else turns


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(parquet_table(path).to_pylist(), start=1):
        yield f"{path}, row {number}", row


def _as_mapped(content: dict[str, Any], mapping: Mapping[str, str], where: str) -> dict[str, Any]:
    found = mapped(content, mapping)
    for name, value in found.items():
        if value is None:
            raise DataError(f"{where}: no {mapping[name]!r}, which is to be {name}; its keys are {', '.join(content)}.")
    if "reply" in found:
        found["replies"] = [found.pop("reply")]
    return found


def _record(content: dict[str, Any], where: str) -> CompletionRecord:
    if "task_id" in content or "question" in content:
        return _by_name(content, where)
    if "messages" in content:
        replies: list[Script] = []
        if "replies" in content:
            replies = _replies(content, where)
        elif content.get("choices"):
            replies = [*read_choices(content["choices"], where)]
        return CompletionRecord(replies, chat=read_messages(content["messages"], where))
    for prompt, reply in _PAIRS:
        if prompt in content and reply in content:
            return _pair(content[prompt], content[reply], where)
    raise DataError(
        f"{where}: needs 'task_id' or 'question'; its keys are {', '.join(content) or 'none'}. Read as well are chats "
        "('messages'), and prompts and completions in TRL's and verl's logs; of other lines a mapping says where they "
        "hold what: question=prompt_text,reply=text."
    )


def _by_name(content: dict[str, Any], where: str) -> CompletionRecord:
    task_id, question = content.get("task_id"), content.get("question")
    for key, value in (("task_id", task_id), ("question", question)):
        if value is not None and not isinstance(value, str):
            raise DataError(f"{where}: {key!r} must be a text; got {value!r:.60}.")
    if "replies" in content:
        return CompletionRecord(_replies(content, where), _labels(content, where), task_id, question)
    models = [value for value in content.values() if isinstance(value, dict) and "solution" in value]
    by_model = {
        "replies": [model["solution"] for model in models],
        "labels": [model.get("is_correct") for model in models],
    }
    return CompletionRecord(_replies(by_model, where), _labels(by_model, where), task_id, question)


def _pair(prompt: Any, reply: Any, where: str) -> CompletionRecord:
    """A prompt, a text or messages, and what was replied to it, likewise."""
    replied = [{"role": "assistant", "content": reply}] if isinstance(reply, str) else reply
    after = read_messages(replied, where)
    if isinstance(prompt, str):
        return CompletionRecord([script_of(after)], question=prompt)
    return CompletionRecord([], chat=read_messages(prompt, where) + after)


def _replies(content: Mapping[str, Any], where: str) -> list[Script]:
    replies = content["replies"]
    if not isinstance(replies, list) or not replies or not all(map(_is_script, replies)):
        raise DataError(
            f"{where}: needs 'replies', a list of one or more texts (or a key for each model, with its 'solution'); "
            f"got {replies!r:.60}."
        )
    return replies


def _labels(content: Mapping[str, Any], where: str) -> list[bool | None]:
    labels, replies = content.get("labels"), content["replies"]
    if labels is None:
        return []
    if not isinstance(labels, list) or not all(label is None or isinstance(label, bool) for label in labels):
        raise DataError(f"{where}: labels must be true, false or null; got {labels!r:.60}.")
    if len(labels) != len(replies):
        raise DataError(f"{where}: has {len(replies)} replies but {len(labels)} labels.")
    return labels


def _is_script(reply: Any) -> bool:
    return isinstance(reply, str) or (
        isinstance(reply, list) and bool(reply) and all(isinstance(turn, str) for turn in reply)
    )
