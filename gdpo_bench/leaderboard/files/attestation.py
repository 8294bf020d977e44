"""Attestations: small files beside an entry that say that somebody repeated it, `<id>.attested-<hash>.json`.

An entry is immutable, so what is found out about it later stands next to it. Whoever runs `reproduce --attest` gets
a file that names the entry, the seeds, what was required and what came out; its name holds the hash of its content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gdpo_bench.core.files import create_atomically
from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard.files.schema import Entry, Finite, Hash, Provenance, Seed
from gdpo_bench.leaderboard.files.store import ATTESTATION

Criterion = Literal["equal", "1e-9", "within the interval"]
"""What the numbers were held to, from the strictest on."""


class Attestation(BaseModel):
    """That an entry's numbers were found again."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attestation_version: Literal[1] = 1
    entry: Hash
    """Id of the entry."""
    seeds: list[Seed | None]
    """Those that were run again."""
    criterion: Criterion
    """What their numbers fulfil."""
    largest_difference: dict[str, Finite]
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


def read_attestations(folder: Path) -> dict[str, list[Attestation]]:
    """Entry id → the attestations under a folder that are about it, the oldest first.

    Raises:
        ValidationError: One is damaged; `attestation_problems` says which.
    """
    found: dict[str, list[Attestation]] = {}
    for path in _files(folder):
        attestation = Attestation.model_validate_json(path.read_bytes())
        found.setdefault(attestation.entry, []).append(attestation)
    return {entry: sorted(those, key=lambda one: one.provenance.date) for entry, those in found.items()}


def status(entry: Entry, attestations: Mapping[str, Sequence[Attestation]]) -> str:
    """`reproduced` where somebody else has repeated the entry, else what it says of itself."""
    own = entry.provenance
    by_others = any(one.provenance.author != own.author for one in attestations.get(entry.id, ()))
    return "reproduced" if by_others else own.status


def attestation_problems(folder: Path) -> list[str]:
    """What is wrong with the attestations under a folder, a sentence each with the file's path."""
    problems = []
    for path in _files(folder):
        try:
            found = Attestation.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            problems.append(f"{path}: Not an attestation: {str(error).splitlines()[0]}")
            continue
        if found.name != path.name:
            problems.append(f"{path}: Its name does not follow from its content, which was changed or is another's.")
        if not path.with_name(f"{found.entry}.json").is_file():
            problems.append(f"{path}: It is about {found.entry}, which is not in the same folder.")
    return problems


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.attested-*.json") if ATTESTATION.fullmatch(path.name))
