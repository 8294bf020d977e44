"""The table of the job `real-small`: a real model on a CPU, by GRPO and by GDPO, at its horizons."""

from __future__ import annotations

from collections.abc import Sequence

from tables import Row, absolute, against, only, table

from gdpo_bench.leaderboard.compare.tuning import at_horizon
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry

ENVIRONMENT, OPTIONS = "gdpo/ToolCallingMini-v1", {"format_rate": 0.04}
HORIZONS = (10, 20)
_QUANTITIES = (ALL_RIGHT, "format", "correctness")
_NOTHING = "No entries yet: `python -m gdpo_bench.run real-small` makes them."


def horizons(entries: Sequence[Entry]) -> str:
    """GRPO, GDPO, and what GDPO has over it, after 10 and after 20 steps.

    Args:
        entries: Of a board, completed from their sidecars.

    Raises:
        LookupError: A normalizer has two entries.
    """
    grpo, gdpo = (_only(entries, name) for name in ("grpo", "gdpo"))
    if grpo is None or gdpo is None:
        return _NOTHING
    rows: list[Row] = []
    for step in HORIZONS:
        base, own = (at_horizon(entry, step) or entry for entry in (grpo, gdpo))
        rows += [
            (f"{step} steps: `grpo`", absolute(base, _QUANTITIES)),
            (f"{step} steps: `gdpo`", absolute(own, _QUANTITIES)),
            (f"{step} steps: `gdpo` − `grpo`", against(own, base, _QUANTITIES)),
        ]
    return table(["", *_QUANTITIES], rows)


def _only(entries: Sequence[Entry], normalizer: str) -> Entry | None:
    own = [
        entry
        for entry in entries
        if entry.policy.name == "smollm2"
        and (entry.environment.id, entry.environment.options) == (ENVIRONMENT, OPTIONS)
        and entry.normalizer.name == normalizer
        and entry.plan is not None
        and entry.plan.horizons == list(HORIZONS)
    ]
    return only(own, normalizer)
