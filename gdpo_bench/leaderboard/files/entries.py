"""Entries in and out: compose one with its id, write its text, and read it back checked.

Reading checks the id on the JSON *as it was written*, before anything is migrated, so that old
entries keep their ids for ever and never need to be rewritten.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.models import problems
from gdpo_bench.core.reading import FormatError, parse_json
from gdpo_bench.core.task import canonical_json, content_hash
from gdpo_bench.leaderboard.files.schema import (
    SCHEMA_VERSION,
    Entry,
    Environment,
    NormalizerConfig,
    PlanReference,
    PolicyConfig,
    Provenance,
    SeedResult,
    Track,
    seed_order,
    without_right,
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
_MEMORY = 32 << 20
"""Bytes for the values of an entry's JSON, of which checking makes a few copies."""
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
    plan: PlanReference | None = None,
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
        plan: The plan that it belongs to, if one was declared.
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
        "plan": plan,
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
    if entry.plan is None:
        del fields["plan"]
    fields["environment"]["rewards"] = without_right(fields["environment"]["rewards"])
    return fields


def parse_entry(text: str | bytes) -> Entry:
    """Read an entry from its file's text, whatever format version it was written in.

    Raises:
        EntryError: Not JSON, of a newer format, altered after it was written, contradictory, or not as it would be
            written again.
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
    migrated = _migrated(fields, version)
    entry = _validated(migrated)
    expected = content_id(fields)
    if entry.id != expected:
        raise EntryError(
            f"The id {entry.id} does not follow from the content, whose id is {expected}: it was changed after "
            "it was written. Entries are immutable; run it again, or submit a correction that supersedes it."
        )
    # What is filed must be what was hashed: validation takes 0 for 0.0, "0.5" for 0.5 and true for 1.
    written = entry_fields(entry)
    if canonical_json(written) != canonical_json(migrated):
        raise EntryError("Not as gdpo-bench writes it: " + next(_differences(migrated, written)))
    return entry


def _differences(found: Any, expected: Any, where: str = "") -> Iterator[str]:
    """What differs between two JSON values, each as a sentence with its place."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            inner = f"{where}.{name}".lstrip(".")
            if name not in found or name not in expected:
                yield f"{inner} {'is missing' if name not in found else 'is written only where it is known'}."
            else:
                yield from _differences(found[name], expected[name], inner)
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from _differences(one, other, f"{where}[{i}]")
    elif canonical_json(found) != canonical_json(expected):
        yield f"{where} is {json.dumps(found)[:100]}, expected {json.dumps(expected)[:100]}."


def _parse_json(text: str | bytes) -> dict[str, Any]:
    try:
        fields = parse_json(text.encode("utf-8") if isinstance(text, str) else text, _MEMORY)
    except FormatError as error:
        raise EntryError(str(error)) from error
    if not isinstance(fields, dict):
        raise EntryError(f"Expected an entry, a JSON object; got {type(fields).__name__}.")
    return fields


def _validated(fields: dict[str, Any]) -> Entry:
    try:
        return Entry.model_validate(fields)
    except ValidationError as error:
        raise EntryError(f"Not a valid entry: {problems(error)}") from error


def _migrated(fields: dict[str, Any], version: int) -> dict[str, Any]:
    fields = copy.deepcopy(fields)  # the id is checked on what was written
    while version < SCHEMA_VERSION:
        if version not in MIGRATIONS:
            known = ", ".join(map(str, sorted([*MIGRATIONS, SCHEMA_VERSION])))
            raise EntryError(f"Unknown entry format {version}; this gdpo-bench reads {known}.")
        fields = MIGRATIONS[version](fields)
        version += 1
    return fields
