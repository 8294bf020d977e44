"""A task: what a policy is asked, and what its reply is scored by."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import Any, Self, TypedDict, TypeVar

from gdpo_bench.core.errors import DeclarationError
from gdpo_bench.core.foreign import defined_at


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


@dataclasses.dataclass(frozen=True)
class Task:
    """Base of all tasks: derive a frozen dataclass and add what the rewards need.

    Fields must be JSON-able, and nothing outside them may matter: the id is their hash.
    """

    prompt: str
    """What the policy is asked."""

    def __new__(cls, *args: Any, **fields: Any) -> Self:
        """A task of a class whose fields count.

        Raises:
            DeclarationError: A class declares fields and is no dataclass, so that they would be ignored.
        """
        _check_is_dataclass(cls)  # type: ignore[arg-type]  # mypy takes a class of Self for unhashable
        return super().__new__(cls)

    @cached_property
    def id(self) -> str:
        """Content hash, 16 hexadecimal digits; equal fields give equal ids on every machine.

        Raises:
            DeclarationError: A field is not JSON-able.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        try:
            return content_hash(fields)
        except (TypeError, ValueError) as error:
            raise DeclarationError(
                f"{type(self).__name__}: every field must be JSON-able (text, finite numbers, lists, dicts): {error}"
            ) from error


@cache
def _check_is_dataclass(cls: type[Task]) -> None:
    for base in cls.__mro__[: cls.__mro__.index(Task)]:
        own = vars(base).get("__annotations__", {}).values()
        fields = [annotation for annotation in own if "ClassVar" not in str(annotation)]
        if fields and "__dataclass_fields__" not in vars(base) and issubclass(base, Task):
            raise DeclarationError(
                f"{base.__name__} has fields and is no dataclass: write @dataclass(frozen=True) above it."
            ).at(defined_at(base, "class"))


TaskT = TypeVar("TaskT", bound=Task)


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, ASCII only, no NaN.

    Raises:
        TypeError: The value is not JSON-able.
        ValueError: The value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def content_hash(value: Any, digits: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()[:digits]


def held_out(hash: str, share: float) -> bool:
    """Whether what has this `content_hash` belongs to the evaluation split.

    Args:
        hash: Of a task (its id), or of what it asks.
        share: Expected share of what is held out, in [0, 1].
    """
    return int(hash[:8], 16) < share * 0x1_0000_0000


def split_by_content(
    tasks: Iterable[TaskT],
    split: str,
    eval_share: float = 0.1,
    content: Callable[[TaskT], Any] | None = None,
    *,
    repeated: bool = False,
) -> list[TaskT]:
    """Those of the tasks that belong to a split, without repetitions.

    A hash decides, so splits of procedural tasks cannot overlap, however the tasks were drawn.

    Args:
        tasks: Tasks of both splits.
        split: "train" or "eval".
        eval_share: Expected share of what is held out, in [0, 1].
        content: What a task asks, as JSON: tasks that ask the same in other words must be on the same side, or the
            policy is evaluated on answers that it was trained on. By default all of the task, its wording included.
        repeated: Whether copies are expected, as among tasks drawn at random; otherwise a warning tells of them.

    Raises:
        DeclarationError: Something else than a task is among them.
    """
    given = 0
    unique: dict[str, TaskT] = {}
    for given, task in enumerate(tasks, 1):  # noqa: B007 (the number of the last)
        if not isinstance(task, Task):
            raise DeclarationError(f"split_by_content takes tasks; got {task!r:.60}. Wrap each prompt: Task(prompt).")
        unique[task.id] = task
    if len(unique) < given and not repeated:
        _warn_of_copies(given - len(unique), given, next(iter(unique)))
    return [
        task
        for task in unique.values()
        if held_out(task.id if content is None else content_hash(content(task)), eval_share) == (split == "eval")
    ]


@cache  # once for these tasks, of whichever split, however often they are made
def _warn_of_copies(dropped: int, given: int, first: str) -> None:
    warnings.warn(
        f"split_by_content dropped {dropped:,} of {given:,} tasks as copies. Where that is meant, as of random tasks, "
        "say repeated=True.",
        stacklevel=3,
    )
