"""Completions from a file, to be scored instead of sampled ones: `--policy replay:FILE`.

The file is JSON lines, in UTF-8, or parquet. A line holds the replies to one task:

    {"task_id": "…", "replies": ["…", "…"]}
    {"question": "…", "replies": ["…", "…"], "labels": [true, false]}
    {"task_id": "…", "replies": [["first turn", "second turn"]]}

or is a line of GSM8K's published model completions, in which each model is a key of its own:

    {"question": "…", "ground_truth": "…", "6b_finetuning": {"solution": "…", "is_correct": false}, …}

or of somebody's log: a chat, whose replies follow the task's messages (or stand in `choices`); TRL's logged
completions; verl's dumps, whose prompts a chat template has laid out; or any other, by a mapping.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}

Several lines about one task are one group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from gdpo_bench.agent.completion_records import CompletionRecord, completion_records, script_of
from gdpo_bench.agent.matching import PromptMatcher
from gdpo_bench.core import DataError, Message
from gdpo_bench.core.env import Script
from gdpo_bench.core.task import TaskT

_NAMED = 3
"""Lines about no task that are named."""


@dataclass(frozen=True)
class CompletionGroup(Generic[TaskT]):
    """The given replies to one task."""

    task: TaskT
    replies: list[Script]
    labels: list[bool | None]
    """Whether others call each reply correct; None where nobody did."""


@dataclass(frozen=True)
class Completions(Generic[TaskT]):
    """What a file holds about some tasks."""

    groups: list[CompletionGroup[TaskT]]
    """A group for each task that occurs, in the order of the file."""
    unmatched: tuple[str, ...]
    """Lines about none of the tasks, by their place and what they ask."""

    def told_unmatched(self, path: str | Path, id: str) -> str:
        """The unmatched lines, counted and the first of them named; nothing where there are none.

        Args:
            path: The file.
            id: The environment's id.
        """
        if not self.unmatched:
            return ""
        count = len(self.unmatched)
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        lines = "line of {} is" if count == 1 else "lines of {} are"
        return f"{count:,} {lines.format(path)} about no task of {id}: {', '.join(self.unmatched[:_NAMED])}{more}."


def as_user(task: TaskT) -> list[Message]:
    """A task as an environment asks it that does not say otherwise."""
    return [{"role": "user", "content": task.prompt}]


def read_completions(
    path: str | Path,
    tasks: Sequence[TaskT],
    messages: Callable[[TaskT], Sequence[Message]] = as_user,
    mapping: Mapping[str, str] | None = None,
) -> Completions[TaskT]:
    """Read completions and find out which tasks they are about.

    A line belongs to the task with its `task_id`, or else to the task whose prompt is its `question`, or whose messages
    its chat begins with, all without white space around them.

    Args:
        path: The file.
        tasks: The tasks of one split.
        messages: A task as the environment asks it, to match chats.
        mapping: Of other lines, where they hold what; see `completion_records`.

    Returns:
        The groups, and which lines are about none of the tasks.

    Raises:
        DataError: The file cannot be read, a line has another form, or no line is about a task.
        UnknownNameError: A mapping of something that no line holds.
    """
    records = list(completion_records(Path(path), mapping))
    matcher = PromptMatcher(tasks, messages)
    texts = [record.question for _, record in records if record.task_id is None and record.question is not None]
    matcher.learn_layout(text for text in texts if not matcher.of_text(text))
    groups: dict[str, CompletionGroup[TaskT]] = {}
    unmatched = []
    for where, record in records:
        found, replies = _found(matcher, record, where)
        if len(found) > 1:
            raise DataError(f"{where}: {len(found)} tasks have this question; name the one you mean by 'task_id'.")
        if found:
            group = groups.setdefault(found[0].id, CompletionGroup(found[0], [], []))
            group.replies.extend(replies)
            group.labels.extend(record.labels or [None] * len(replies))
        else:
            unmatched.append(f"{where.rpartition(', ')[2]} ({record})")
    if not groups:
        raise DataError(
            f"{path}: none of its {len(records)} lines is about one of the {len(tasks)} tasks. A line's 'task_id' must "
            "be a task's id, its 'question' the task's prompt, or its chat begin with the task's messages. Is it the "
            "right environment and split?" + (f" The first is {unmatched[0]}." if unmatched else "")
        )
    return Completions(list(groups.values()), tuple(unmatched))


def _found(matcher: PromptMatcher[TaskT], record: CompletionRecord, where: str) -> tuple[list[TaskT], Sequence[Script]]:
    """The tasks that a line may be about, and its replies."""
    if record.task_id is not None:
        return [matcher.by_id[record.task_id]] if record.task_id in matcher.by_id else [], record.replies
    if record.chat is None:
        return matcher.of_text(record.question or ""), record.replies
    found, after = matcher.of_chat(record.chat)
    replied = script_of(after)
    if found and replied == [] and not record.replies:
        raise DataError(f"{where}: nothing is replied behind the prompt.")
    return found, record.replies or [replied]


def check_completions(path: str | Path, mapping: Mapping[str, str] | None = None) -> None:
    """Read a whole file, whatever tasks it is about.

    Raises:
        DataError: It cannot be read, or a line has another form.
        UnknownNameError: A mapping of something that no line holds.
    """
    for _ in completion_records(Path(path), mapping):
        pass
