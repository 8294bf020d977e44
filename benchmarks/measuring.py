"""What the measurements here share."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path


def spread(values: Sequence[float], form: str = ",.3g") -> str:
    """Median and quartiles, each in a format."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def resident_bytes(field: str) -> int:
    """Memory of this process, from the kernel (Linux): `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
