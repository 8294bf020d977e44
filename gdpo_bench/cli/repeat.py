"""Commands that compute an entry's numbers again: `recompute` and `reproduce`."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gdpo_bench.cli.exits import interruptible
from gdpo_bench.cli.terminal import make_console, say
from gdpo_bench.core.errors import DataError, GdpoBenchError, RegistrationError
from gdpo_bench.leaderboard.compare.reproduction import (
    Reproduction,
    compare_runs,
    differing_arithmetic,
    differing_conditions,
    differing_policies,
)
from gdpo_bench.leaderboard.files.attestation import Attestation, write_attestation
from gdpo_bench.leaderboard.files.legible import legible
from gdpo_bench.leaderboard.files.provenance import collect_provenance
from gdpo_bench.leaderboard.files.recompute import moved_rows
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.files.store import ROOT, Measured, entry_files, find_entry_file, read_entry, read_measured

if TYPE_CHECKING:
    from gdpo_bench.jobs.plan import Plan

_SHOWN = 10
"""So many rows that moved are shown of an entry."""


def recompute(root: Path = ROOT, allow_code: bool = False) -> int:
    """Compute advantages again from recorded reward vectors.

    Args:
        root: The leaderboard's folder, or a part of it.
        allow_code: Import normalizers that are not registered here, if their source is the one that made the entry.

    Returns:
        1 if an advantage moved, else 0.

    Raises:
        DataError: There is no such folder, or no entry of the track in it: a check of nothing says nothing.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; name a leaderboard's with --root.")
    files = {file: entry for file in entry_files(root) if (entry := read_entry(file)).track == "advantage"}
    if not files:
        raise DataError(f"No entries of the advantage track under {root}: nothing was computed again.")
    superseded = {entry.supersedes for entry in files.values()}
    files = {file: entry for file, entry in files.items() if entry.sidecar or entry.id not in superseded}
    checked, moved = 0, 0
    for file, entry in files.items():
        if entry.sidecar is None:
            say(f"{file} is of format 1: there are no reward vectors to compute with.")
            continue
        try:
            rows = moved_rows(read_measured(file, entry), allow_code)
        except RegistrationError as error:
            raise RegistrationError(f"{file}: {error}") from error
        checked, moved = checked + 1, moved + bool(rows)
        for row in rows[:_SHOWN]:
            say(f"{file}: {entry.normalizer.name} moved: {row}", file=sys.stderr)
        if len(rows) > _SHOWN:
            say(f"{file}: and {len(rows) - _SHOWN} more rows", file=sys.stderr)
    say(f"{checked} of {len(files)} entries computed again, {moved} moved.")
    return 1 if moved else 0


def reproduce(
    name: tyro.conf.Positional[str],
    *,
    root: Path = ROOT,
    seeds: int | None = None,
    completions: Path | None = None,
    out: Path = Path("runs"),
    resume: bool = False,
    attest: bool = False,
    allow_code: bool = False,
    allow: tuple[str, ...] = (),
) -> int:
    """Run an entry again and compare.

    Args:
        name: An entry: its file, or the first digits of its id.
        root: The leaderboard's folder, for ids.
        seeds: Only so many of its seeds, the first.
        completions: The replies that it scored, for an entry on given replies.
        out: Folder for run folders.
        resume: Go on with the newest unfinished run of the same entry.
        attest: Write beside the entry that it was reproduced.
        allow_code: Import a normalizer that is not registered here, if its source is the recorded one.
        allow: Models, folders and files that the entry may have this machine read or fetch, as the message lists them.

    Returns:
        0 if the numbers came out as they must, else 1.

    Raises:
        GdpoBenchError: There is no such entry, or what it was run on is not here.
    """
    from gdpo_bench.jobs.from_entry import rebuild  # noqa: PLC0415 (imports torch)

    if seeds is not None and seeds < 1:
        raise DataError(f"--seeds must be at least 1; got {seeds}.")
    file = find_entry_file(name, root)
    measured = read_measured(file)
    entry = measured.entry
    command = shlex.join(["python", "-m", "gdpo_bench.leaderboard", *sys.argv[1:]])
    here = collect_provenance(command, wall_s=0)
    for text in differing_conditions(entry.provenance, here) or ["Versions and CPU are those of the entry."]:
        say(text)
    began = time.perf_counter()
    if entry.policy.name == "replay" and completions is None:
        return _from_vectors(file, measured, allow_code)
    planned = rebuild(entry, seeds, completions, allow_code, allow)
    again = _run_again(entry, planned, out, resume)
    for text in (
        *differing_arithmetic(entry.provenance, again.entry.provenance),
        *differing_policies(entry.policy, again.entry.policy),
    ):
        say(text)
    result = compare_runs(measured, again)
    _show(entry, result)
    if attest and result.reached is not None:
        attestation = Attestation(
            entry=entry.id,
            seeds=result.seeds,
            criterion=result.reached,
            largest_difference={row.reward: row.largest for row in result.rows},
            provenance=collect_provenance(
                command, wall_s=time.perf_counter() - began, engine=again.entry.provenance.engine
            ).model_copy(update={"status": "reproduced"}),
        )
        say(f"Wrote {write_attestation(attestation, file.parent)}.")
    return 0 if result.succeeded else 1


def _from_vectors(file: Path, measured: Measured, allow_code: bool) -> int:
    """Where the replies are not here: from the recorded rewards on."""
    say("The replies are not here (--completions names them): advantages are computed from the recorded rewards.")
    rows = moved_rows(measured, allow_code)
    for row in rows[:_SHOWN]:
        say(f"{file}: {measured.entry.normalizer.name} moved: {row}", file=sys.stderr)
    say(f"{len(rows)} advantages moved." if rows else "All advantages agree to 1e-9.")
    return 1 if rows else 0


def _run_again(entry: Entry, planned: Plan, out: Path, resume: bool) -> Measured:
    """Run an entry's job again; returns what it gave, which is filed nowhere."""
    from gdpo_bench.jobs.folder import RunFolder  # noqa: PLC0415 (these import torch)
    from gdpo_bench.jobs.replay import score_frozen  # noqa: PLC0415
    from gdpo_bench.jobs.training import train  # noqa: PLC0415

    command, console = entry.provenance.command, make_console()
    if entry.track == "training":
        folder = RunFolder.newest(out, planned.job) if resume else None
        folder = folder or RunFolder.create(out, planned.job)
        with interruptible(f"What is finished is kept in {folder.path}. The same command with --resume goes on."):
            measured, failed, _ = train(planned, folder, command, console)
        if failed:
            raise GdpoBenchError(f"{failed} runs failed; see above. --resume tries again.")
    else:
        measured = score_frozen(planned, command, console)
    (again,) = measured
    replies = entry.policy.details.get("completions")
    if replies != again.entry.policy.details.get("completions"):
        raise DataError(
            f"{planned.policy.file or f'Policy {planned.policy.name!r}'} does not give the replies that entry "
            f"{entry.id} scored."
        )
    return again


def _show(entry: Entry, result: Reproduction) -> None:
    entry = legible(entry)
    title = Text(f"{entry.normalizer.name} on {entry.environment.id}")
    table = Table("reward", box=SIMPLE_HEAD, title=title)
    for heading in ("recorded", "found", "largest difference", "allowed", ""):
        table.add_column(heading, justify="right")
    for row in result.rows:
        allowed = "none" if row.allowed is None else f"±{row.allowed:.4g}"
        numbers = (f"{row.recorded:.6g}", f"{row.found:.6g}", f"{row.largest:.3g}", allowed)
        table.add_row(Text(legible(row.reward)), *numbers, "holds" if row.holds else "differs")
    make_console().print(table)
    of = f"{len(result.seeds)} of {len(entry.results)} seeds" if entry.results[0].seed else "The evaluation"
    wanted = {
        "equal": "the same numbers, as they must be on this CPU with these versions",
        "1e-9": "the same numbers to 1e-9",
        "within the interval": "final values within the entry's intervals",
    }
    if result.reached is None:
        say(f"Not reproduced. Required here: {wanted[result.required]}.")
        if entry.provenance.git_sha is not None:
            say(f"Whether the code changed the numbers since shows commit {entry.provenance.git_sha}.")
    else:
        reached = {**wanted, "equal": "the same numbers, bit for bit"}[result.reached]
        say(f"Reproduced. {of}: {reached}.")
