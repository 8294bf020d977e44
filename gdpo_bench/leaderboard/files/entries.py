"""Entries in and out: compose one with its id, write its text, and read it back checked.

Reading checks the id on the JSON *as it was written*, before anything is migrated, so that old
entries keep their ids for ever and never need to be rewritten.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

from pydantic import ValidationError

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard.files.schema import (
    SCHEMA_VERSION,
    Entry,
    Environment,
    NormalizerConfig,
    PolicyConfig,
    Provenance,
    SeedResult,
    Track,
    seed_order,
)

UNHASHED = frozenset({"id", "provenance", "supersedes"})
"""Top-level fields that the id does not depend on, in every format version."""

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: lambda fields: fields}
"""Format version → function from an entry's JSON of that version to the next version's.

What format 2 added is optional, and an entry goes on saying which format it was written in: it is written again, byte
for byte, where it is filed."""
_SINCE_2: tuple[tuple[str, ...], ...] = (
    ("sidecar",),
    ("provenance", "lock_hash"),
    ("provenance", "engine"),
    ("provenance", "cost", "gpu_hours"),
)
_WRITTEN_WHERE_KNOWN: tuple[tuple[str, ...], ...] = (
    ("provenance", "arithmetic"),
    ("provenance", "programs"),
    ("provenance", "hardware", "processor"),
)
"""Fields that older entries of the same format lack, and keep lacking when they are written again."""
_FIRST_GRADER = 1
"""Revision of a grader that is not written, so that entries from before there were revisions keep text and id."""


class EntryError(GdpoBenchError, ValueError):
    """An entry that is damaged, altered, contradictory or of another format."""


def make_entry(
    *,
    track: Track,
    environment: Environment,
    normalizer: NormalizerConfig,
    policy: PolicyConfig,
    training: dict[str, Any] | None,
    results: Sequence[SeedResult],
    provenance: Provenance,
    sidecar: str | None = None,
    division: Literal["closed", "open"] = "closed",
    supersedes: str | None = None,
) -> Entry:
    """Compose an entry, sort its results by seed and compute its id.

    Args:
        track: `training` or `advantage`.
        environment: See `Environment.describe`.
        normalizer: Name, every option, and the weights used.
        policy: Name and whatever pins it.
        training: The trainer's options; `None` on the advantage track.
        results: One per seed, in any order.
        provenance: See `gdpo_bench.leaderboard.files.provenance.collect_provenance`.
        sidecar: `Sidecar.sha256` of the reward vectors behind the results. Without one the entry is of format 1,
            which can be compared and shown but not submitted.
        division: `closed` if only the normalizer departs from the benchmark's job.
        supersedes: Id of the entry that this one corrects.

    Raises:
        EntryError: The parts contradict each other.
    """
    fields: dict[str, Any] = {
        "schema_version": 1 if sidecar is None else SCHEMA_VERSION,
        "id": "0" * 16,
        "track": track,
        "division": division,
        "environment": environment,
        "normalizer": normalizer,
        "policy": policy,
        "training": training,
        "results": sorted(results, key=lambda result: seed_order(result.seed)),
        "sidecar": sidecar,
        "provenance": provenance,
        "supersedes": supersedes,
    }
    draft = _validated(fields)
    return draft.model_copy(update={"id": content_id(entry_fields(draft))})


def content_id(fields: Mapping[str, Any]) -> str:
    """The id that follows from an entry's JSON: 16 hexadecimal digits."""
    return content_hash({name: value for name, value in fields.items() if name not in UNHASHED})


def entry_text(entry: Entry) -> str:
    """The one text of an entry's file: sorted keys, two spaces, a line end."""
    return json.dumps(entry_fields(entry), sort_keys=True, indent=2, allow_nan=False) + "\n"


def entry_fields(entry: Entry) -> dict[str, Any]:
    """An entry as JSON in the format that it was written in."""
    fields = entry.model_dump(mode="json")
    for *path, name in (*(_SINCE_2 if entry.schema_version == 1 else ()), *_WRITTEN_WHERE_KNOWN):
        part = fields
        for step in path:
            part = part[step]
        if entry.schema_version == 1 or part[name] is None:
            del part[name]
    if entry.environment.grader_revision == _FIRST_GRADER:
        del fields["environment"]["grader_revision"]
    return fields


def parse_entry(text: str) -> Entry:
    """Read an entry from its file's text, whatever format version it was written in.

    Raises:
        EntryError: Not JSON, of a newer format, altered after it was written, or contradictory.
    """
    fields = _parse_json(text)
    version = fields.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise EntryError(f"Expected an entry with a whole number as schema_version; got {version!r}.")
    if version > SCHEMA_VERSION:
        raise EntryError(
            f"Written by a newer gdpo-bench (entry format {version}; this one reads up to {SCHEMA_VERSION}). "
            "Update gdpo-bench."
        )
    entry = _validated(_migrated(fields, version))
    expected = content_id(fields)
    if entry.id != expected:
        raise EntryError(
            f"The id {entry.id} does not follow from the content, whose id is {expected}: it was changed after "
            "it was written. Entries are immutable; run it again, or submit a correction that supersedes it."
        )
    return entry


def _parse_json(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise EntryError(f"{constant} is not a number that an entry may hold; all values must be finite.")

    try:
        fields = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        cut = "" if text[error.pos :].strip() else " The file ends too early: was it cut off?"
        raise EntryError(f"Not JSON: line {error.lineno}, column {error.colno}: {error.msg}.{cut}") from error
    except RecursionError as error:
        raise EntryError("Not an entry: the JSON is nested too deeply.") from error
    if not isinstance(fields, dict):
        raise EntryError(f"Expected an entry, a JSON object; got {type(fields).__name__}.")
    return fields


def _validated(fields: dict[str, Any]) -> Entry:
    try:
        return Entry.model_validate(fields)
    except ValidationError as error:
        complaints = []
        for problem in error.errors(include_url=False):
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            complaints.append(f"{where.lstrip('.')}: {message}" if where else message)
        raise EntryError("Not a valid entry: " + "; ".join(complaints)) from error


def _migrated(fields: dict[str, Any], version: int) -> dict[str, Any]:
    fields = copy.deepcopy(fields)  # the id is checked on what was written
    while version < SCHEMA_VERSION:
        if version not in MIGRATIONS:
            known = ", ".join(map(str, sorted([*MIGRATIONS, SCHEMA_VERSION])))
            raise EntryError(f"Unknown entry format {version}; this gdpo-bench reads {known}.")
        fields = MIGRATIONS[version](fields)
        version += 1
    return fields
