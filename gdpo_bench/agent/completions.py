"""Completions from a file, to be scored instead of sampled ones: `--policy replay:FILE`.

The file is JSON lines, in UTF-8. A line holds the replies to one task:

    {"task_id": "…", "replies": ["…", "…"]}
    {"question": "…", "replies": ["…", "…"], "labels": [true, false]}
    {"task_id": "…", "replies": [["first turn", "second turn"]]}

or is a line of GSM8K's published model completions, in which each model is a key of its own:

    {"question": "…", "ground_truth": "…", "6b_finetuning": {"solution": "…", "is_correct": false}, …}

Several lines about one task are one group.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from gdpo_bench.core import DataError
from gdpo_bench.core.env import Script
from gdpo_bench.core.task import TaskT


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
    unmatched: int
    """Lines about none of the tasks."""


@dataclass(frozen=True)
class _Record:
    """One line."""

    task_id: str | None
    question: str | None
    replies: list[Script]
    labels: list[bool | None]


def read_completions(path: str | Path, tasks: Sequence[TaskT]) -> Completions[TaskT]:
    """Read completions and find out which tasks they are about.

    A line belongs to the task with its `task_id`, or else to the task whose prompt is its
    `question`, both without white space around them.

    Args:
        path: The file.
        tasks: The tasks of one split.

    Returns:
        The groups, and how many lines are about none of the tasks.

    Raises:
        DataError: The file cannot be read, a line has another form, or no line is about a task.
    """
    by_id = {task.id: task for task in tasks}
    by_prompt: dict[str, list[TaskT]] = {}
    for task in tasks:
        by_prompt.setdefault(task.prompt.strip(), []).append(task)
    groups: dict[str, CompletionGroup[TaskT]] = {}
    lines = unmatched = 0
    for where, record in _records(Path(path)):
        lines += 1
        if record.task_id is not None:
            found = [by_id[record.task_id]] if record.task_id in by_id else []
        else:
            found = by_prompt.get((record.question or "").strip(), [])
        if len(found) > 1:
            raise DataError(f"{where}: {len(found)} tasks have this question; name the one you mean by 'task_id'.")
        if found:
            group = groups.setdefault(found[0].id, CompletionGroup(found[0], [], []))
            group.replies.extend(record.replies)
            group.labels.extend(record.labels)
        else:
            unmatched += 1
    if not groups:
        raise DataError(
            f"{path}: none of its {lines} lines is about one of the {len(tasks)} tasks. A line's 'task_id' must be a "
            "task's id, or its 'question' the task's prompt. Is it the right environment and split?"
        )
    return Completions(list(groups.values()), unmatched)


def check_completions(path: str | Path) -> None:
    """Read a whole file, whatever tasks it is about.

    Raises:
        DataError: It cannot be read, or a line has another form.
    """
    for _ in _records(Path(path)):
        pass


def _records(path: Path) -> Iterator[tuple[str, _Record]]:
    """Each line's place and content; blank lines are passed over."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, _record(_parsed(line, where), where)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, after line {number}: expected UTF-8 text; {error.reason}.") from error
    except OSError as error:
        raise DataError(f"Cannot read completions from {path}: {error.strerror or error}.") from error


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object; {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected a JSON object; got {type(content).__name__} {line.strip():.60}")
    return content


def _record(content: dict[str, Any], where: str) -> _Record:
    task_id, question = content.get("task_id"), content.get("question")
    for key, value in (("task_id", task_id), ("question", question)):
        if value is not None and not isinstance(value, str):
            raise DataError(f"{where}: {key!r} must be a text; got {value!r:.60}.")
    if task_id is None and question is None:
        raise DataError(f"{where}: needs 'task_id' or 'question'; its keys are {', '.join(content) or 'none'}.")
    if "replies" in content:
        replies, labels = content["replies"], content.get("labels")
    else:
        models = [value for value in content.values() if isinstance(value, dict) and "solution" in value]
        replies, labels = [model["solution"] for model in models], [model.get("is_correct") for model in models]
    if not isinstance(replies, list) or not replies or not all(map(_is_script, replies)):
        raise DataError(
            f"{where}: needs 'replies', a list of one or more texts (or a key for each model, with its 'solution'); "
            f"got {replies!r:.60}."
        )
    if labels is None:
        labels = [None] * len(replies)
    if not isinstance(labels, list) or not all(label is None or isinstance(label, bool) for label in labels):
        raise DataError(f"{where}: labels must be true, false or null; got {labels!r:.60}.")
    if len(labels) != len(replies):
        raise DataError(f"{where}: has {len(replies)} replies but {len(labels)} labels.")
    return _Record(task_id, question, replies, labels)


def _is_script(reply: Any) -> bool:
    return isinstance(reply, str) or (
        isinstance(reply, list) and bool(reply) and all(isinstance(turn, str) for turn in reply)
    )
