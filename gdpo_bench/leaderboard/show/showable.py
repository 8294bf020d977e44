"""Whether entries can be shown: everything that is made of them is made once, for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from gdpo_bench.leaderboard.compare.pair import compare_pair
from gdpo_bench.leaderboard.files.attestation import Attestation
from gdpo_bench.leaderboard.files.legible import legible
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.show.export import datastore_path, every_eval_ever
from gdpo_bench.leaderboard.show.page import render_site
from gdpo_bench.leaderboard.show.pair import render_pair
from gdpo_bench.leaderboard.show.table import render_markdown, render_results

Attestations = Mapping[str, Sequence[Attestation]]


def unshowable(entries: Mapping[Path, Entry], attestations: Attestations = MappingProxyType({})) -> list[str]:
    """Entries of which a table, a page, a comparison or an export cannot be made, a sentence each with the file's path.

    Whatever is raised counts: an entry that stops the table stops it for everybody.

    Args:
        entries: File → entry.
        attestations: Entry id → who has repeated it.
    """
    try:
        _show(list(entries.values()), attestations)
        return []
    except Exception as error:
        together = error
    problems = []
    for file, entry in entries.items():
        try:
            _show([entry], attestations)
        except Exception as error:
            problems.append(f"{file}: It cannot be shown: {type(error).__name__}: {error!s:.200}")
    if not problems:
        names = ", ".join(map(str, entries))
        problems = [f"These entries cannot be shown together: {type(together).__name__}: {together!s:.200} ({names})"]
    return problems


def _show(entries: Sequence[Entry], attestations: Attestations) -> None:
    entries, attestations = legible(list(entries)), legible(dict(attestations))
    render_markdown(entries, attestations=attestations)
    render_results(entries)
    render_site(entries, attestations)
    for entry in entries:
        every_eval_ever(entry)
        datastore_path(entry)
        if entry.track == "training":
            render_pair(compare_pair(entry, entry))
