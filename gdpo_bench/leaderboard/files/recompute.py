"""Advantages computed again from an entry's reward vectors: the regression gate of the `advantage` track.

Needs neither the data nor the replies: an entry holds every option of its normalizer, its sidecar what it was applied
to and what came out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.errors import DataError, GdpoBenchError
from gdpo_bench.core.foreign import described
from gdpo_bench.core.measurements import RewardVectors
from gdpo_bench.core.schedules import starting_weights
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.files.store import Measured
from gdpo_bench.leaderboard.files.verification import reward_specs

TOLERANCE = 1e-9
"""Advantages may differ by this between machines, absolutely and as a share."""


@dataclass(frozen=True)
class MovedRow:
    """A rollout whose advantage is no longer what it was."""

    row: int
    task_id: str
    rewards: list[float]
    """Its reward vector."""
    was: float
    found: float

    def __str__(self) -> str:
        rewards = ", ".join(f"{value:g}" for value in self.rewards)
        return f"rollout {self.row} of task {self.task_id}, rewards ({rewards}): {self.was:.12g} → {self.found:.12g}"


def moved_rows(measured: Measured, allow_code: bool = False) -> list[MovedRow]:
    """Rollouts of an entry of the `advantage` track whose advantage the normalizer gives differently now.

    Args:
        measured: The entry with its sidecar.
        allow_code: Whether to import a normalizer that is not registered here, once its source is the recorded one.

    Raises:
        DataError: It has no reward vectors or no advantages.
        GdpoBenchError: Its normalizer, or an option of it, is not there any more; or it is code of others that was
            not asked for, or not what the entry says.
    """
    from gdpo_bench.advantages.foreign import check_origin  # noqa: PLC0415 (imports torch)

    config = measured.entry.normalizer
    check_origin(config.name, config.options, allow_code)
    return [row for vectors in _vectors(measured) for row in _moved(measured.entry, vectors)]


def _vectors(measured: Measured) -> Iterator[RewardVectors]:
    if measured.sidecar is None:
        raise DataError(f"Entry {measured.entry.id} is of format 1 and has no reward vectors to compute with.")
    for run in measured.sidecar.runs:
        yield from run.evaluations


def _moved(entry: Entry, vectors: RewardVectors) -> Iterator[MovedRow]:
    if vectors.advantages is None:
        raise DataError(f"The sidecar of entry {entry.id} holds no advantages.")
    found = _advantages(entry, vectors)
    for row in np.flatnonzero(~np.isclose(found, vectors.advantages, rtol=TOLERANCE, atol=TOLERANCE)).tolist():
        yield MovedRow(
            row,
            str(vectors.task_ids[row]),
            vectors.scores.values[row].tolist(),
            float(vectors.advantages[row]),
            float(found[row]),
        )


def _advantages(entry: Entry, vectors: RewardVectors) -> NDArray[np.float64]:
    from gdpo_bench.advantages import compute_advantages, make_normalizer, scheduled  # noqa: PLC0415 (imports torch)
    from gdpo_bench.advantages.foreign import FOREIGN_FIELDS  # noqa: PLC0415

    config, scores = entry.normalizer, vectors.scores
    options = {name: value for name, value in config.live_options.items() if name not in FOREIGN_FIELDS}
    try:
        advantages = compute_advantages(
            scheduled(make_normalizer(config.name, **options), config.weights),
            scores.values,
            vectors.groups,
            specs=reward_specs(entry.environment),
            weights=starting_weights(config.weights),
            lengths=vectors.lengths,
            applicable=scores.applicable,
            failed=scores.failed,
        )
    except GdpoBenchError:
        raise
    except Exception as error:  # of options that nobody would choose, or of code that is not ours
        raise DataError(f"Entry {entry.id}: {config.name} with its options raised {described(error)}.") from error
    found: NDArray[np.float64] = advantages.double().numpy()
    return found
