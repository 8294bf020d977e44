"""Attestations: small files beside an entry that say that somebody repeated it, `<id>.attested-<hash>.json`.

An entry is immutable, so what is found out about it later stands next to it. Whoever runs `reproduce --attest` gets
a file that names the entry, the seeds, what was required and what came out; its name holds the hash of its content.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError

from gdpo_bench.core.errors import DataError
from gdpo_bench.core.files import create_atomically
from gdpo_bench.core.models import problems
from gdpo_bench.core.reading import parse_json, read_plain
from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard.files.entries import EntryError
from gdpo_bench.leaderboard.files.schema import Entry, Hash, Listed, Provenance, Seed
from gdpo_bench.leaderboard.files.store import ATTESTATION, LARGEST_ENTRY, read_entry
from gdpo_bench.leaderboard.files.verification import TOLERANCE

Criterion = Literal["equal", "1e-9", "within the interval"]
"""What the numbers were held to, from the strictest on."""


class Attestation(BaseModel):
    """That an entry's numbers were found again."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attestation_version: Literal[1] = 1
    entry: Hash
    """Id of the entry."""
    seeds: Annotated[Listed[Seed | None], Field(min_length=1)]
    """Those that were run again."""
    criterion: Criterion
    """What their numbers fulfil."""
    largest_difference: Annotated[dict[str, NonNegativeFloat], Field(min_length=1)]
    """Reward → largest difference between final values of a seed."""
    provenance: Provenance
    """Who repeated it, when and where."""

    @property
    def text(self) -> str:
        """The text of its file."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=2, allow_nan=False) + "\n"

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.entry}.attested-{content_hash(self.model_dump(mode='json'))}.json"


def write_attestation(attestation: Attestation, folder: Path) -> Path:
    """Write an attestation into the entry's folder; returns the file's path.

    Raises:
        WriteError: The disk is full, and so on.
    """
    path = folder / attestation.name
    create_atomically(path, attestation.text)
    return path


def read_attestations(folder: Path, unread: Collection[Path] = ()) -> dict[str, list[Attestation]]:
    """Entry id → the attestations under a folder that are about it, the oldest first.

    Args:
        folder: A leaderboard or part of one.
        unread: Files that are passed over.

    Raises:
        EntryError: One is damaged.
    """
    found: dict[str, list[Attestation]] = {}
    for path in _files(folder, unread):
        attestation = _read(path)
        found.setdefault(attestation.entry, []).append(attestation)
    return {entry: sorted(those, key=lambda one: one.provenance.date) for entry, those in found.items()}


def status(entries: Iterable[Entry], attestations: Mapping[str, Sequence[Attestation]]) -> str:
    """`reproduced` where somebody else has repeated each of the entries, whatever they say of themselves."""
    repeated = [
        any(
            one.provenance.author != entry.provenance.author and not any(_contradictions(one, entry))
            for one in attestations.get(entry.id, ())
        )
        for entry in entries
    ]
    return "reproduced" if all(repeated) else "self-reported"


def attestation_problems(folder: Path, unread: Collection[Path] = ()) -> list[str]:
    """What is wrong with the attestations under a folder, a sentence each with the file's path.

    Args:
        folder: A leaderboard or part of one.
        unread: Files that are passed over.
    """
    wrong = []
    for path in _files(folder, unread):
        try:
            found = _read(path)
            entry = read_entry(path.with_name(f"{found.entry}.json"))
        except EntryError as error:
            wrong.append(str(error))
        except DataError:
            wrong.append(f"{path}: It is about {found.entry}, which is not in the same folder.")
        else:
            wrong += [f"{path}: {problem}" for problem in _contradictions(found, entry)]
    return wrong


def _read(path: Path) -> Attestation:
    """One attestation, whose text and name follow from it.

    Raises:
        EntryError: It is damaged, altered, or something else.
    """
    try:
        content = read_plain(path, LARGEST_ENTRY)
        found = Attestation.model_validate(parse_json(content, LARGEST_ENTRY))
    except ValidationError as error:
        raise EntryError(f"{path}: Not an attestation: {problems(error)}") from error
    except DataError as error:
        told = str(error).removeprefix(f"{path}: ")
        raise EntryError(f"{path}: Not an attestation: {told}") from error
    if found.name != path.name or found.text.encode() != content:
        raise EntryError(f"{path}: Its name does not follow from its content, which was changed or is another's.")
    return found


def _contradictions(attestation: Attestation, entry: Entry) -> Iterator[str]:
    """What an attestation says that its entry cannot bear out."""
    if any(seed not in [result.seed for result in entry.results] for seed in attestation.seeds):
        yield "It is about seeds that the entry does not have."
    if attestation.largest_difference.keys() != {reward.name for reward in entry.environment.rewards}:
        yield "It must hold a difference for each reward of the entry, and no other."
    bound = {"equal": 0.0, "1e-9": TOLERANCE, "within the interval": math.inf}[attestation.criterion]
    scale = {reward.name: max(1.0, abs(reward.low), abs(reward.high)) for reward in entry.environment.rewards}
    for name, difference in attestation.largest_difference.items():
        if difference > bound * scale.get(name, 1.0):
            yield f"It says that the numbers are {attestation.criterion!r}, but {name} differs by {difference:g}."


def _files(folder: Path, unread: Collection[Path]) -> list[Path]:
    found = (path for path in folder.rglob("*.attested-*.json") if ATTESTATION.fullmatch(path.name))
    return sorted(path for path in found if path not in unread)
