"""Coding environments of published data sets: what they share beside the rewards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import ClassVar

from gdpo_envs.coding.env import LIMIT, CodingEnv
from gdpo_envs.coding.problem import CodeTask
from gdpo_envs.demonstrating import FORMAT_RATE, imperfect
from gdpo_envs.distinct import distinct, normalized
from gdpo_envs.loading import Row, Source, load, revision
from gdpo_envs.options import checked_count, checked_share


class PublishedCoding(CodingEnv):
    """Derive, name the source, and make a task of a row.

    Revision 2 of the grader: programs end as in CPython, more forms of replies are read, equal tests count once,
    letters in any case where the problem says so, outputs above 1 MiB can pass, null is an empty input, and the prompt
    says what may be imported.
    """

    grader_revision = 2
    source: ClassVar[Source]

    def __init__(
        self,
        data_dir: str | None = None,
        limit: int = LIMIT,
        max_tasks: int | None = None,
        numpy: bool = False,
        format_rate: float = FORMAT_RATE,
    ) -> None:
        """Set the options.

        Args:
            data_dir: Folder of local data. Without it the folder that `GDPO_BENCH_DATA` names, and
                without that the Hugging Face hub.
            limit: Characters of a short reply.
            max_tasks: Read only so many tasks of a split, the first.
            numpy: Let programs import numpy, and say so in the prompt. Programs then run in an image of their own.
            format_rate: Share of the demonstrations that hold the whole program in a fence, in [0, 1].

        Raises:
            DeclarationError: A number outside its range.
        """
        self.data_dir = data_dir
        self.limit = checked_count("limit", limit)
        self.max_tasks = None if max_tasks is None else checked_count("max_tasks", max_tasks)
        self.numpy = numpy
        self.format_rate = checked_share("format_rate", format_rate)

    def tasks(self, split: str) -> Sequence[CodeTask]:
        """The problems of a split, in the order of the source, without repetitions.

        Raises:
            DataError: The data are not there or not as expected.
        """
        return _tasks(_Reading(type(self), split, self.data_dir, self.limit, self.max_tasks, self.data_revision()))

    def demonstrations(self, rng: Random) -> Iterator[tuple[CodeTask, str]]:
        """Known solutions, mostly without a fence or cut off; nothing where no training problem has one."""
        return imperfect(self, rng, self.format_rate, self.reference, _badly_written)

    def data_revision(self) -> str:
        """The commit on the hub, or a hash of the local files."""
        return revision(self.source, self.data_dir)

    @classmethod
    def convert(cls, row: Row, split: str, limit: int) -> CodeTask | None:
        """The task of a row, or None if the row is of another split or subject.

        Raises:
            UnusableRowError: No test can be made of the row.
        """
        raise NotImplementedError


def _badly_written(task: CodeTask, rng: Random) -> str:
    program = (task.solution or "").rstrip()
    lines = program.splitlines(keepends=True)
    cut = "".join(lines[: rng.randrange(len(lines))]) + "("  # which never closes
    return rng.choice((program, f"Here is the program:\n{program}\n", f"```python\n{cut}\n```"))


@dataclass(frozen=True)
class _Reading:
    """What is read; `version` is there so that other data are read anew."""

    cls: type[PublishedCoding]
    split: str
    data_dir: str | None
    limit: int
    max_tasks: int | None
    version: str


@lru_cache(maxsize=4)
def _tasks(wanted: _Reading) -> Sequence[CodeTask]:
    """Read once for all instances."""
    cls, split = wanted.cls, wanted.split
    held_out: set[str] = set()
    if split != "eval":
        held_out = set(map(normalized, _tasks(replace(wanted, split="eval", max_tasks=None))))
    found = load(
        cls.source, split, lambda row: cls.convert(row, split, wanted.limit), wanted.data_dir, wanted.max_tasks
    ).rows
    return distinct(found, f"{cls.source.hub} {split}", held_out)
