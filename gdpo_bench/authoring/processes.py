"""Playing probes in other processes: under two hash seeds, within a time limit, and where a crash hurts nobody.

What such a process does stands in `worker`.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdpo_bench.authoring.probes import Probe
from gdpo_bench.core.env import TextEnv
from gdpo_bench.core.processes import start_module

TIME_LIMIT = 60.0
"""Seconds for one probe, and for making the environment."""
_POLL = 0.1


@dataclass(frozen=True)
class Report:
    """What a process made of the probes."""

    before: dict[str, str]
    """What there is before any reply, as hashes: tasks of each split, references, demonstrations."""
    outcomes: list[dict[str, Any]]
    """An outcome for each probe, as a dictionary, as far as the process came."""
    survived: int
    """How many probes can be played without harm."""
    problem: str = ""
    """Why the process did not come to its end."""
    started: bool = True
    """Whether the environment could be sent to the process and made there."""


def in_processes(
    make: Callable[[], TextEnv[Any]], name: str, splits: list[str], probes: Sequence[Probe]
) -> tuple[Report, Report]:
    """Play probes in two processes at once, whose hash seeds differ.

    Args:
        make: Makes the environment there; pickled.
        name: Its id.
        splits: Whose tasks to compare; of all the environment's, the demonstrations too.
        probes: What to play.

    Returns:
        Their reports. Where nothing can be sent to another process, all probes count as harmless.
    """
    try:
        parcel = pickle.dumps((make, name, splits, list(probes)))
    except Exception as error:  # whatever an attribute's `__reduce__` raises
        report = Report({}, [], len(probes), f"{type(error).__name__}: {error}", started=False)
        return report, report
    with tempfile.TemporaryDirectory(prefix="gdpo-bench-") as folder:
        sent = Path(folder, "sent")
        sent.write_bytes(parcel)
        outputs = [Path(folder, f"output_{seed}") for seed in (1, 2)]
        processes = [_start(seed, sent, output) for seed, output in enumerate(outputs, start=1)]
        one, two = (_finish(process, output, probes) for process, output in zip(processes, outputs, strict=True))
    return one, two


def _start(hash_seed: int, sent: Path, output: Path) -> subprocess.Popen[bytes]:
    with open(output.with_suffix(".said"), "wb") as said:
        return start_module(
            "gdpo_bench.authoring.worker",
            sent,
            output,
            hash_seed=hash_seed,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )


def _finish(process: subprocess.Popen[bytes], output: Path, probes: Sequence[Probe]) -> Report:
    status = _wait(process, output)
    problem = f"ended with status {status}" if status else ""
    if status is None:
        problem = f"was still at it after {TIME_LIMIT:g} s"
    written = output.read_text() if output.exists() else ""
    lines = [json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n")]
    said = output.with_suffix(".said").read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    if not lines:
        return Report({}, [], len(probes), f"{problem}: {said}", started=False)
    if not problem:
        return Report(lines[0], lines[1:], len(probes))
    survived = len(lines) - 1
    where = f" at {probes[survived]}" if survived < len(probes) else ""
    return Report(lines[0], lines[1:], survived, f"{problem}{where}{f': {said}' if said else ''}")


def _wait(process: subprocess.Popen[bytes], output: Path) -> int | None:
    """The exit status; None if the process stopped writing and had to be killed."""
    written, since = -1, time.monotonic()
    while time.monotonic() - since < TIME_LIMIT:
        try:
            return process.wait(_POLL)
        except subprocess.TimeoutExpired:
            size = output.stat().st_size if output.exists() else 0
            if size != written:
                written, since = size, time.monotonic()
    process.kill()
    process.wait()
    return None
