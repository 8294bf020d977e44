"""What came out of a job, in plain sentences: which normalizer learned which reward, by how much, how sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdpo_bench.core.models import options_suffix
from gdpo_bench.leaderboard.compare.board import BASELINE, Cell, Column, Comparison, Row, compare
from gdpo_bench.leaderboard.compare.sign_flips import LEAST_UNITS
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.files.store import Measured
from gdpo_bench.leaderboard.show.table import by_environment, rounded

_LEARNED = 0.1
"""Share of a reward's range by which its mean has to rise over training to be called learned."""
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def outcome_sentences(entries: Sequence[Entry], baseline: str = BASELINE) -> list[str]:
    """A sentence for each reward in which a normalizer and the baseline differ, surely or as far as few runs tell.

    Args:
        entries: Entries of any environments.
        baseline: Name of the normalizer that the others are compared with.

    Returns:
        The sentences, each naming its environment; none where nothing differs.
    """
    return [
        sentence
        for (track, environment), group in by_environment(entries)
        if track == "training"
        for comparison in compare(group, baseline)
        for row in comparison.rows
        for sentence in _of_row(environment, comparison, row)
    ]


def _of_row(environment: str, comparison: Comparison, row: Row) -> list[str]:
    said = []
    for column, cell in zip(comparison.columns, row.cells, strict=True):
        if cell is None or cell.difference is None or not worth_saying(cell):
            continue
        difference = cell.difference
        base = next(other for other in comparison.rows if other.label == comparison.baseline)
        agreeing = max(difference.wins, difference.losses)
        unit = "warm starts" if difference.unit == "warm start" else "seeds"
        size = rounded(difference.mean, column.decimals, "+")
        if not float(size):
            continue
        said.append(
            f"{environment}: {_verb(row, base, column, difference.mean)}: {size}, {_number(agreeing)} of "
            f"{_number(difference.n)} {unit}{'' if difference.n >= LEAST_UNITS else ', too few to be sure'}."
        )
    return said


def worth_saying(cell: Cell) -> bool:
    """Whether a difference is sure, or would be with more units: few that agree, and an interval without 0."""
    found = cell.difference
    if found is None or found.n < 2:
        return False
    agree = found.n in (found.wins, found.losses)
    return cell.verdict in ("better", "worse") or (found.n < LEAST_UNITS and agree and found.excludes_zero)


def _verb(row: Row, base: Row, column: Column, difference: float) -> str:
    ours, theirs = (learned(one.entry, column.title) for one in (row, base))
    if ours and not theirs:
        return f"{row.label} learned {column.title}, {base.label} did not"
    if theirs and not ours:
        return f"{base.label} learned {column.title}, {row.label} did not"
    return f"{row.label} ended {'higher' if difference > 0 else 'lower'} than {base.label} in {column.title}"


def learned(entry: Entry, name: str) -> bool:
    """Whether a reward's mean rose over training by a tenth of its range.

    Args:
        entry: An entry of the training track.
        name: Of the reward; `False` if there is none of that name.
    """
    ranges = {reward.name: reward.high - reward.low for reward in entry.environment.rewards}
    if name not in ranges:
        return False
    curves = [result.rewards[name].curve for result in entry.results if name in result.rewards]
    return bool(curves) and float(np.mean([curve[-1] - curve[0] for curve in curves])) >= _LEARNED * ranges[name]


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"


def never_varied(measured: Measured) -> list[str]:
    """Names of the rewards that were one number, whatever was replied, in all evaluations of all seeds.

    Args:
        measured: An entry with its reward vectors.
    """
    if measured.sidecar is None:
        return []
    evaluations = [one.scores for run in measured.sidecar.runs for one in run.evaluations]
    constant = []
    for k, name in enumerate(measured.sidecar.rewards):
        scored = [scores.values[scores.applicable[:, k] & ~scores.failed[:, k], k] for scores in evaluations]
        if len(np.unique(np.concatenate(scored))) < 2:
            constant.append(name)
    return constant


def silent_everywhere(constant: Sequence[tuple[Entry, Sequence[str]]]) -> list[str]:
    """Rewards that varied with no normalizer, so that their rows compare nothing, for each environment: `ID: right`.

    Args:
        constant: Entries of a job, each with the names of its rewards that never varied.
    """
    silent: dict[str, list[str]] = {}
    for entry, names in constant:
        label = entry.environment.id + options_suffix(entry.environment.options)
        silent[label] = [name for name in silent.get(label, names) if name in names]
    return [f"{label}: {', '.join(names)}" for label, names in silent.items() if names]
