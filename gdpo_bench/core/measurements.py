"""The reward vectors of many rollouts, kept whole, and the means that follow from them."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.rewards import Metric, RewardSpec
from gdpo_bench.core.scoring import Scores
from gdpo_bench.core.task import canonical_json

_COLUMNS = frozenset(
    ("step", "tasks", "task", "group", "length", "raw", "value", "applicable", "failed", "advantage", "label")
)
"""Of an evaluation, as `RewardVectors.as_json` names them."""
_EXACT = 2**53
"""Larger whole numbers may not be exact as floats."""
_NAMES = 16 << 20
"""Characters that names of tasks may take in memory, four bytes each: a million of as many as a task's hash has."""


@dataclass(frozen=True)
class Evaluation:
    """Means over rollouts, by name."""

    step: int
    rewards: dict[str, float]
    """Reward → mean over the rollouts that it applies to, gates applied; without those that apply to none."""
    metrics: dict[Metric, float]
    """Canonical metric → its value in [0, 1], from raw rewards; likewise."""
    applicable: dict[str, float]
    """Reward → share of the rollouts that it applies to and was computed for."""


def evaluate(scores: Scores, specs: Sequence[RewardSpec], step: int = 0) -> Evaluation:
    """Average the rewards of rollouts.

    Args:
        scores: Rewards (N, K).
        specs: The K rewards.
        step: Training steps before this.

    Returns:
        The means; a reward that nowhere applies has none, and no metric.
    """
    rewards: dict[str, float] = {}
    metrics: dict[Metric, float] = {}
    applicable: dict[str, float] = {}
    for k, spec in enumerate(specs):
        scored = scores.applicable[:, k] & ~scores.failed[:, k]
        applicable[spec.name] = float(scored.mean())
        if not scored.any():
            continue
        rewards[spec.name] = float(scores.values[scored, k].mean())
        if spec.metric is not None:
            full = float((scores.raw[scored, k] >= spec.high).mean())
            metrics[spec.metric] = full if spec.full_marks_count() else 1 - full
    return Evaluation(step, rewards, metrics, applicable)


def all_right(scores: Scores, specs: Sequence[RewardSpec]) -> float | None:
    """Share of rollouts that are right in every reward that applies to them.

    Args:
        scores: Rewards (N, K), of which the raw ones count.
        specs: The K rewards; `RewardSpec.right` says what is right.

    Returns:
        The share, over rollouts to which a reward applies and on which no scorer failed; None where there are none.
    """
    known = scores.applicable.any(axis=1) & ~scores.failed.any(axis=1)
    if not known.any():
        return None
    right = scores.raw >= np.array([spec.right_from for spec in specs])
    return float((right | ~scores.applicable)[known].all(axis=1).mean())


def label_agreement(scores: Scores, specs: Sequence[RewardSpec], labels: Sequence[bool | None]) -> dict[str, float]:
    """How often the reward behind `accuracy` says what others say of correctness.

    Args:
        scores: Rewards (N, K).
        specs: The K rewards.
        labels: N labels, whether others call the reply correct; None where there is none.

    Returns:
        `labels`, their number, and `label_agreement`, a share; nothing where there are none.
    """
    labelled = [i for i, label in enumerate(labels) if label is not None]
    columns = [k for k, spec in enumerate(specs) if spec.metric == "accuracy"]
    if not labelled or not columns:
        return {}
    ours = scores.raw[labelled, columns[0]] >= specs[columns[0]].high
    theirs = np.array([labels[i] for i in labelled])
    return {"labels": float(len(labelled)), "label_agreement": float((ours == theirs).mean())}


def curves(
    evaluations: Sequence[Evaluation], specs: Sequence[RewardSpec]
) -> tuple[dict[str, list[float]], dict[Metric, list[float]]]:
    """What a leaderboard entry holds of a run's evaluations: a point for each of them.

    Args:
        evaluations: At least one.
        specs: The K rewards.

    Returns:
        Reward → means, 0 where it applied to no rollout; and canonical metric → values, of those metrics that every
        evaluation has.
    """
    rewards = {spec.name: [one.rewards.get(spec.name, 0.0) for one in evaluations] for spec in specs}
    everywhere = [name for name in evaluations[-1].metrics if all(name in one.metrics for one in evaluations)]
    return rewards, {name: [one.metrics[name] for one in evaluations] for name in everywhere}


@dataclass(frozen=True)
class RewardVectors:
    """What N rollouts earned, before anything was averaged."""

    step: int
    """Training steps before this evaluation."""
    scores: Scores
    """Rewards (N, K)."""
    task_ids: NDArray[np.str_]
    """(N,)"""
    groups: NDArray[np.int64]
    """(N,) number of the prompt; a task may be asked in several groups."""
    lengths: NDArray[np.int64] | None = None
    """(N,) tokens that the policy drew, or characters of given replies for who cannot do without lengths; else None."""
    advantages: NDArray[np.float64] | None = None
    """(N,), where a normalizer was applied."""
    labels: list[bool | None] = field(default_factory=list)
    """N labels, whether others call the reply correct, or none at all."""

    def as_json(self) -> dict[str, Any]:
        """Columns of N values; rewards and masks as K such columns, in the order of the reward vector."""
        tasks, task = np.unique(self.task_ids, return_inverse=True)
        return {
            "step": self.step,
            "tasks": tasks.tolist(),
            "task": task.tolist(),
            "group": self.groups.tolist(),
            "length": None if self.lengths is None else self.lengths.tolist(),
            "raw": [_numbers(column) for column in self.scores.raw.T],
            "value": [_numbers(column) for column in self.scores.values.T],
            "applicable": self.scores.applicable.T.astype(int).tolist(),
            "failed": self.scores.failed.T.astype(int).tolist(),
            "advantage": None if self.advantages is None else _numbers(self.advantages),
            "label": self.labels or None,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """What `as_json` gave.

        Raises:
            ValueError: A column is missing, of another length, or holds something else.
        """
        if fields.keys() != _COLUMNS:
            raise ValueError(f"an evaluation has {', '.join(sorted(_COLUMNS))}; got {', '.join(sorted(fields))}"[:500])
        try:
            task, groups = _whole(fields["task"]), _whole(fields["group"])
            raw, values = (_stacked(fields[name], _graded) for name in ("raw", "value"))
            applicable, failed = (_stacked(fields[name], _mask) for name in ("applicable", "failed"))
            length, advantage, label = fields["length"], fields["advantage"], fields["label"]
            lengths = None if length is None else _whole(length)
            advantages = None if advantage is None else _graded(advantage)
            labels = [] if label is None else list(_of(label, {bool, type(None)}))
            found = cls(
                int(_whole([fields["step"]])[0]),
                Scores(values, raw, applicable, failed),
                _named(fields["tasks"], task),
                groups,
                lengths,
                advantages,
                labels,
            )
        except OverflowError as error:
            raise ValueError(f"a number is too large: {error}") from error
        columns = [task, groups, *(column for column in (lengths, advantages) if column is not None)]
        shapes = {part.shape for part in (raw, values, applicable, failed)}
        rollouts = len(task)
        if not rollouts or len(shapes) != 1 or raw.ndim != 2 or len(raw) != rollouts:
            raise ValueError("rewards and masks must be columns of one value for each rollout, at least one")
        if any(column.shape != (rollouts,) for column in columns) or (label is not None and len(labels) != rollouts):
            raise ValueError("columns must have one value for each rollout")
        if not (np.isfinite(raw).all() and np.isfinite(values).all()):
            raise ValueError("rewards must be finite")
        if advantages is not None and not np.isfinite(advantages).all():
            raise ValueError("advantages must be finite")
        return found

    def pack(self) -> bytes:
        """A compressed line of JSON. Such packs one after the other are a `.jsonl.gz` file."""
        return compress((canonical_json(self.as_json()) + "\n").encode("ascii"))


def unpack(packs: bytes) -> list[RewardVectors]:
    """What `RewardVectors.pack` gave, one after the other.

    Raises:
        ValueError: It is something else, or was cut off.
    """
    try:
        return [RewardVectors.from_json(json.loads(line)) for line in gzip.decompress(packs).splitlines()]
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"not compressed by gzip, or cut off: {error}") from error


def compress(content: bytes) -> bytes:
    """As gzip, without name, time and system in it: equal content gives equal bytes with the same zlib."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def _numbers(column: NDArray[np.float64]) -> list[float]:
    """Whole numbers without their `.0`: most rewards are, and files stay small."""
    return [int(value) if value.is_integer() else value for value in column.astype(np.float64).tolist()]


def _of(column: Any, kinds: set[type]) -> list[Any]:
    """A column that holds values of these types alone; numpy would take others, and texts at their longest's size."""
    if not isinstance(column, list) or not set(map(type, column)) <= kinds:
        raise ValueError(f"expected a list of {' or '.join(sorted(kind.__name__ for kind in kinds))} in each column")
    return column


def _whole(column: Any) -> NDArray[np.int64]:
    """(N,) from N whole numbers."""
    return np.array(_of(column, {int}), np.int64)


def _graded(column: Any) -> NDArray[np.float64]:
    """(N,), as `_numbers` writes it."""
    found = np.array(_of(column, {int, float}), np.float64)
    rounded = np.flatnonzero(np.abs(found) > _EXACT)
    if int((found == np.floor(found)).sum()) != sum(type(value) is int for value in column) or any(
        int(found[i]) != column[i] for i in rounded
    ):
        raise ValueError("numbers without a fraction, and no others, are written without one")
    return found


def _mask(column: Any) -> NDArray[np.bool_]:
    """(N,) from N zeros and ones."""
    mask = _whole(column)
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("masks hold 0 and 1")
    return mask.astype(bool)


def _stacked(columns: Any, read: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
    """(N, K) from K columns."""
    return np.array([read(column) for column in _of(columns, {list})]).T


def _named(names: Any, task: NDArray[np.int64]) -> NDArray[np.str_]:
    """(N,) names of the tasks, in an array whose items all take what the longest takes."""
    longest = max(map(len, _of(names, {str})), default=0)
    if (len(names) + len(task)) * longest > _NAMES:
        raise ValueError(f"names of tasks are too long: {len(task):,} rollouts with up to {longest:,} characters")
    found = np.array(names, str)
    asked = np.unique(task)
    if not np.array_equal(asked, np.arange(len(found))) or np.unique(found).tolist() != names:
        raise ValueError("expected the names of all tasks that were asked, each once, sorted")
    return found[task]
