"""The table of the job `bits`: on text, in three corners, what the tabular twin shows of the same designs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tables import Row, absolute, against, only, table

from gdpo_bench.leaderboard.compare.tuning import tested
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry

ENVIRONMENT = "gdpo/Bits-v0"
CORNERS: Mapping[str, Mapping[str, Any]] = {
    "scale 6": {},
    "scale 1, correlation −0.6": {"scale": 1, "correlation": -0.6},
    "scale 6, conflict 0.05": {"conflict": 0.05},
}
_QUANTITIES = (ALL_RIGHT, "large", "small1")
_NOTHING = "No entries yet: `python -m gdpo_bench.run bits` makes them."


def corners(entries: Sequence[Entry]) -> str:
    """GRPO, then what GDPO and range scaling have over it, and GDPO over range scaling.

    Args:
        entries: Of a board, completed from their sidecars.

    Raises:
        LookupError: A corner has two entries of a normalizer.
    """
    found = [entry for entry in tested(entries) if entry.environment.id == ENVIRONMENT]
    if not found:
        return _NOTHING
    rows: list[Row] = []
    for label, options in CORNERS.items():
        grpo, gdpo, scaled = (_only(found, name, options) for name in ("grpo", "gdpo", "grpo_scaled"))
        rows += [
            (f"{label}: `grpo`", absolute(grpo, _QUANTITIES)),
            (f"{label}: `gdpo` − `grpo`", against(gdpo, grpo, _QUANTITIES)),
            (f"{label}: `grpo_scaled` − `grpo`", against(scaled, grpo, _QUANTITIES)),
            (f"{label}: `gdpo` − `grpo_scaled`", against(gdpo, scaled, _QUANTITIES)),
        ]
    return table(["", *_QUANTITIES], rows)


def _only(entries: Sequence[Entry], normalizer: str, options: Mapping[str, Any]) -> Entry | None:
    own = [
        entry for entry in entries if (entry.normalizer.name, entry.environment.options) == (normalizer, dict(options))
    ]
    return only(own, f"{normalizer} at {dict(options)}")
