"""The tables of the job `published-minis`: what was published since GDPO, on sums and programs, all at one rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from answers import at_step
from tables import RANKED, Row, absolute, against, markdown, only, ranked, table, values

from gdpo_bench.leaderboard.compare.statistics import mean
from gdpo_bench.leaderboard.compare.tuning import tested
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry

QUANTITIES = {
    "gdpo/MathMini-v1": (ALL_RIGHT, "correct", "length", "format", "integer"),
    "gdpo/CodingMini-v1": (ALL_RIGHT, "pass_rate", "length", "no_bug"),
}
HORIZONS = (20, 40)
_BASE = "gdpo"
_NOTHING = "No entries yet: `python -m gdpo_bench.run published-minis --block 90` makes them."

Found = Mapping[str, Entry]
"""Normalizer → its entry, the best in all rewards at once first."""


def measured(entries: Sequence[Entry], environment: str) -> Found:
    """What the job's plan measured in an environment.

    Args:
        entries: Of a board, completed from their sidecars.
        environment: Its id.

    Raises:
        LookupError: A normalizer has two entries.
    """
    own = [
        entry
        for entry in tested(entries)
        if entry.environment.id == environment and entry.plan and entry.plan.horizons == list(HORIZONS)
    ]
    names = dict.fromkeys(entry.normalizer.name for entry in own)
    found = {
        name: only([one for one in own if one.normalizer.name == name], f"{name} on {environment}") for name in names
    }
    known = {name: entry for name, entry in found.items() if entry is not None}
    return dict(sorted(known.items(), key=lambda named: -mean(values(named[1], ALL_RIGHT))))


def _differences(found: Found, step: int, names: Sequence[str]) -> list[Row]:
    base = at_step(found[_BASE], step)
    return [(name, against(at_step(entry, step), base, names)) for name, entry in found.items() if name != _BASE]


def told_apart(found: Found, names: Sequence[str]) -> str:
    """Who is better or worse than GDPO, in what, by when; corrected over all that stands beside it then."""
    lines = []
    for step in HORIZONS:
        lines += ranked(f"against `{_BASE}`, {{}}, {step} steps", _differences(found, step, names), names)
    return markdown(RANKED, lines)


def final(found: Found, names: Sequence[str]) -> str:
    """What each has learned at the end, and its difference to GDPO."""
    step = HORIZONS[-1]
    differences = dict(_differences(found, step, names))
    rows: list[Row] = [
        (f"`{name}`", [*absolute(entry, names), *differences.get(name, [""] * len(names))])
        for name, entry in found.items()
    ]
    return table([f"{step} steps", *names, *(f"− {_BASE}, {name}" for name in names)], rows)


def sections(entries: Sequence[Entry]) -> dict[str, str]:
    """Section of docs/findings.md → its text.

    Args:
        entries: Of a board, completed from their sidecars.
    """
    texts = {}
    for environment, names in QUANTITIES.items():
        found = measured(entries, environment)
        short = environment.removeprefix("gdpo/")
        for section, make in (("told apart", told_apart), ("values", final)):
            texts[f"{short} {section}"] = make(found, names) if _BASE in found else _NOTHING
    return texts
