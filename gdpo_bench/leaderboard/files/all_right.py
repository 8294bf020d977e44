"""The primary endpoint, the share of replies that are right in all rewards at once, from an entry's reward vectors.

Means of single rewards cannot tell it: half of the replies right in each may be all or none right in both. It follows
from the sidecar, so that entries from before it was reported have it too, and none has to hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gdpo_bench.core.measurements import RewardVectors, all_right
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.leaderboard.files.schema import Curve, Entry
from gdpo_bench.leaderboard.files.sidecar import read_sidecar, sidecar_path
from gdpo_bench.leaderboard.files.store import Measured, entry_path
from gdpo_bench.leaderboard.files.verification import reward_specs


def completed(measured: Measured) -> Entry:
    """The entry with `all_right` in its results; as it is where it has no sidecar or nothing was trained."""
    entry, sidecar = measured.entry, measured.sidecar
    if sidecar is None or entry.track != "training":
        return entry
    specs = reward_specs(entry.environment)
    runs = {run.seed: run.evaluations for run in sidecar.runs}
    results = [
        result.model_copy(update={"all_right": _curve(runs.get(result.seed, []), specs)}) for result in entry.results
    ]
    return entry.model_copy(update={"results": results})


def completed_from(entry: Entry, root: Path) -> Entry:
    """The same for an entry of the board at `root`, whose sidecar is read.

    Raises:
        EntryError: The sidecar is missing or damaged.
        DataError: It cannot be read.
    """
    if entry.sidecar is None or entry.track != "training":
        return entry
    return completed(Measured(entry, read_sidecar(sidecar_path(entry_path(entry, root), entry.id), entry.sidecar)))


def _curve(evaluations: Sequence[RewardVectors], specs: Sequence[RewardSpec]) -> Curve | None:
    shares = [all_right(one.scores, specs) for one in evaluations]
    known = [share for share in shares if share is not None]
    return Curve.of(known) if known and len(known) == len(shares) else None
