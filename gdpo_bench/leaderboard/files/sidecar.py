"""The raw reward vectors behind an entry, in a file beside it: `<id>.json.gz`.

    {"format": 1, "rewards": ["correct", "format"],
     "runs": [{"seed": {"rl": 0, "warm_start": 0}, "evaluations": [{"step": 0, "value": [[1, 0], [1, 1]], …}]}]}

An evaluation's columns are those of `core.measurements.RewardVectors.as_json`. The entry holds the SHA-256 of the
*uncompressed* text, which is canonical JSON: libraries that compress differ between machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.measurements import RewardVectors, compress
from gdpo_bench.core.models import problems
from gdpo_bench.core.reading import FormatError, gunzip, parse_json, read_plain
from gdpo_bench.core.task import canonical_json
from gdpo_bench.core.text import brief
from gdpo_bench.leaderboard.files.entries import EntryError
from gdpo_bench.leaderboard.files.schema import Listed, Seed, seed_order

SUFFIX = ".json.gz"
_FORMAT = 1
LARGEST = 16 << 20
"""Bytes of content at most, and of the file: reading one takes at most 256 MB, whatever it holds."""
_MEMORY = 192 << 20
"""Bytes for the values of its JSON and the columns made of them."""


class _Run(BaseModel):
    """A seed's evaluations as they are written."""

    model_config = ConfigDict(extra="forbid")

    seed: Seed | None
    evaluations: Listed[dict[str, Any]]


class _Content(BaseModel):
    """A sidecar as it is written."""

    model_config = ConfigDict(extra="forbid")

    format: int
    rewards: Listed[str]
    runs: Listed[_Run]


@dataclass(frozen=True)
class SidecarRun:
    """One seed's evaluations."""

    seed: Seed | None
    """`None` where nothing is random."""
    evaluations: list[RewardVectors]
    """In the order of steps."""


@dataclass(frozen=True)
class Sidecar:
    """The reward vectors of every evaluation of every seed."""

    rewards: list[str]
    """Names, in the order of the reward vector."""
    runs: list[SidecarRun]
    """Sorted by seed."""

    @classmethod
    def of(cls, rewards: Iterable[str], runs: Iterable[SidecarRun]) -> Self:
        """From runs in any order."""
        return cls(list(rewards), sorted(runs, key=lambda run: seed_order(run.seed)))

    @cached_property
    def content(self) -> bytes:
        """Its text, uncompressed."""
        runs = [
            {
                "seed": None if run.seed is None else run.seed.model_dump(mode="json"),
                "evaluations": [one.as_json() for one in run.evaluations],
            }
            for run in self.runs
        ]
        return canonical_json({"format": _FORMAT, "rewards": self.rewards, "runs": runs}).encode("ascii")

    @property
    def sha256(self) -> str:
        """What binds it to its entry."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def compressed(self) -> bytes:
        """The bytes of its file."""
        return compress(self.content)


def sidecar_path(entry_file: Path, id: str) -> Path:
    """Where an entry's sidecar lies: beside it, under the entry's id."""
    return entry_file.with_name(id + SUFFIX)


def read_sidecar(path: Path, sha256: str) -> Sidecar:
    """Read a sidecar and check that it is the one that an entry names.

    Args:
        path: Its file.
        sha256: What the entry says.

    Raises:
        EntryError: It is missing, cut off, of another format, or another entry's.
        DataError: It cannot be read.
    """
    try:
        file = read_plain(path, LARGEST)
    except FormatError as error:
        raise EntryError(str(error)) from error
    except DataError as error:
        if path.exists():
            raise
        raise EntryError(f"{path}: The sidecar is missing: entries come with their reward vectors.") from error
    try:
        content = gunzip(file, LARGEST)
    except FormatError as error:
        raise EntryError(f"{path}: The sidecar is damaged: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise EntryError(
            f"{path}: The sidecar's content has SHA-256 {found[:16]}…, but its entry was made of {sha256[:16]}…: "
            "it was changed, or is another entry's."
        )
    try:
        return parse_sidecar(content)
    except EntryError as error:
        raise EntryError(f"{path}: {error}") from error


def parse_sidecar(content: bytes) -> Sidecar:
    """Read a sidecar's uncompressed content.

    Raises:
        EntryError: It is of a newer format, or something else.
    """
    try:
        fields: Any = parse_json(content, _MEMORY)
    except FormatError as error:
        raise EntryError(f"Not a sidecar: {error}") from error
    if not isinstance(fields, dict):
        raise EntryError(f"Not a sidecar: expected a JSON object; got {type(fields).__name__}.")
    version = fields.get("format")
    if type(version) is not int or version != _FORMAT:
        raise EntryError(
            f"A sidecar of format {version!r:.50}; this gdpo-bench reads {_FORMAT}. If it is newer, update gdpo-bench."
        )
    try:
        whole = _Content.model_validate(fields, strict=True)
        runs = [SidecarRun(one.seed, [RewardVectors.from_json(e) for e in one.evaluations]) for one in whole.runs]
    except ValidationError as error:
        raise EntryError(f"Not a sidecar: {brief(problems(error))}") from error
    except ValueError as error:
        raise EntryError(f"Not a sidecar: {brief(str(error))}") from error
    # What is filed must be what was hashed: the columns above are as they would be written again, and so is the text.
    if canonical_json(fields).encode("ascii") != content:
        raise EntryError(
            "Not a sidecar as gdpo-bench writes it: sorted keys, no spaces, numbers in their shortest form."
        )
    return Sidecar(whole.rewards, runs)
