"""What the tables of docs/findings.md are made of: quantities of entries, and differences of two of them.

A difference is paired over shared seeds, with the intervals of docs/statistics.md; bold where p ≤ .05 by exact sign
flips, corrected over the whole table.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gdpo_bench.conformance.report import write_section
from gdpo_bench.core.intervals import Bounds
from gdpo_bench.leaderboard.compare.board import all_right_finals
from gdpo_bench.leaderboard.compare.sign_flips import corrected
from gdpo_bench.leaderboard.compare.statistics import (
    Estimate,
    PairedDifference,
    Verdict,
    estimate,
    finals,
    judge,
    paired_difference,
)
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry, Seed
from gdpo_bench.leaderboard.show.table import estimate_text

Values = Mapping[Seed | None, float]
Cell = Estimate | str | None
"""A value, a difference, a text that stands as it is, or nothing where there is no such entry."""
Row = tuple[str, Sequence[Cell]]
"""A label, and what stands beside it."""


RANKED = ("", "better", "worse", "ties")
"""Header above what `ranked` returns."""


def only(entries: Sequence[Entry], what: str) -> Entry | None:
    """The one entry, or None.

    Raises:
        LookupError: There are several.
    """
    if len(entries) > 1:
        raise LookupError(f"{len(entries)} entries of {what}: {[entry.id for entry in entries]}")
    return entries[0] if entries else None


def values(entry: Entry, name: str) -> Values:
    """Seed → final value of a reward, of a metric, or of the primary endpoint."""
    if name == ALL_RIGHT:
        return all_right_finals(entry)
    if name in {reward.name for reward in entry.environment.rewards}:
        return finals(entry, name)
    return {result.seed: result.metrics[name].final for result in entry.results}  # type: ignore[index]


def bounds(entry: Entry, name: str) -> Bounds:
    """What a reward, or a metric, can be."""
    return next(((one.low, one.high) for one in entry.environment.rewards if one.name == name), (0.0, 1.0))


def absolute(entry: Entry | None, names: Sequence[str]) -> list[Cell]:
    """Each quantity by itself."""
    return [estimate(values(entry, name), bounds(entry, name)) if entry else None for name in names]


def against(first: Entry | None, second: Entry | None, names: Sequence[str]) -> list[Cell]:
    """First minus second in each quantity, over the seeds that both have."""
    if first is None or second is None:
        return [None] * len(names)
    return [paired_difference(values(first, name), values(second, name), bounds(first, name)) for name in names]


def verdicts(rows: Sequence[Row]) -> list[list[Verdict | None]]:
    """What each difference of a table supports, corrected over all of them; None for what is no difference."""
    differences = [one if isinstance(one, PairedDifference) else None for _, cells in rows for one in cells]
    p_values = iter(corrected([one.tested if one else None for one in differences]))
    found = iter([judge(one, p) if one else None for one, p in zip(differences, p_values, strict=True)])
    return [[next(found) for _ in cells] for _, cells in rows]


def ranked(label: str, rows: Sequence[Row], names: Sequence[str]) -> list[list[str]]:
    """For each quantity who is better, who is worse, and how many are not told apart; corrected over all of the rows.

    Args:
        label: What it says in front, with `{}` for the quantity.
        rows: Differences, a column for each quantity.
        names: The quantities.
    """
    lines = []
    for name, judged in zip(names, zip(*verdicts(rows), strict=True), strict=True):
        better, worse = (
            [f"`{who}`" for (who, _), verdict in zip(rows, judged, strict=True) if verdict == what]
            for what in ("better", "worse")
        )
        ties = len(rows) - len(better) - len(worse)
        lines.append([label.format(name), ", ".join(better) or "none", ", ".join(worse) or "none", str(ties)])
    return lines


def table(header: Sequence[str], rows: Sequence[Row]) -> str:
    """Markdown: each row with its number of units; differences bold where p ≤ .05, corrected over the whole table."""
    lines = []
    for (label, cells), judged in zip(rows, verdicts(rows), strict=True):
        counts = sorted({one.n for one in cells if isinstance(one, Estimate)})
        texts = [_text(one, verdict) for one, verdict in zip(cells, judged, strict=True)]
        lines.append([label, ", ".join(map(str, counts)), *texts])
    return markdown([header[0], "n", *header[1:]], lines)


def _text(found: Cell, verdict: Verdict | None) -> str:
    if not isinstance(found, Estimate):
        return "–" if found is None else found
    text = estimate_text(found, 2, "+" if isinstance(found, PairedDifference) else "")
    return f"**{text}**" if verdict in ("better", "worse") else text


def filled(document: Path, sections: Mapping[str, str]) -> bytes:
    """What a document is with these generated sections; the file stays as it is.

    Raises:
        DataError: It has no such section.
    """
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copy(document, folder))
        for name, text in sections.items():
            write_section(copy, name, text)
        return copy.read_bytes()


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
