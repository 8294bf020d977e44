"""What the measurements here share."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from gdpo_bench.conformance.report import write_section


def measured_on(*also: str) -> str:
    """The machine, what else matters of it, and its load before the run."""
    machine = (platform.machine(), f"{os.cpu_count()} cores", *also, f"Python {platform.python_version()}")
    load = f"load average {os.getloadavg()[0]:.1f} before the run"
    return f"{', '.join(machine)}; {load}"


def in_turns(turns: int, *also: str) -> str:
    """The line above a table of `spread`: where it was measured, and what the figures are."""
    return f"{measured_on(*also)}; medians and quartiles of {turns} turns."


def report(lines: Iterable[str], section: str, document: Path | None) -> None:
    """Print each line when it is known, and write all of them into a document's section, if there is one."""
    told = []
    for line in lines:
        told.append(line)
        print(line, flush=True)
    if document:
        write_section(document, section, "\n".join(told))


def spread(values: Sequence[float], form: str = ",.3g") -> str:
    """Median and quartiles, each in a format."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def resident_bytes(field: str) -> int:
    """Memory of this process, from the kernel (Linux): `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
