"""The tables and the picture of docs/who-wins-where.md, from simulations of the tabular twin.

    gdpo-bench simulate estimators
    gdpo-bench simulate conflict --first-seed 1000 --seeds 60
    gdpo-bench simulate correlation --first-seed 1000 --seeds 100
    python benchmarks/who_wins_where.py --simulations simulations   # keeps their runs beside this file, and writes
    python benchmarks/who_wins_where.py                             # writes from the runs that are kept
    python benchmarks/who_wins_where.py --check

What counts is whether a run has learned. Of two estimators the same cells and seeds are compared, by McNemar's exact
test, corrected over all differences of a table. The plan stands in the design `estimators`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import who_wins_where_picture
from tables import filled, markdown

from gdpo_bench.core.files import write_atomically
from gdpo_bench.leaderboard.compare.sign_flips import corrected
from gdpo_bench.worlds.summary import Count

DESIGNS = ("estimators", "conflict", "correlation")
KEPT = Path(__file__).parent / "who_wins_where"
"""A compressed table of runs for each design."""
REFERENCES = ("gdpo", "grpo_scaled")
UNTUNED = 0.1
LEARNED = 0.5
"""As in the designs: a run has learned if more than this share of its replies does all that is asked."""
_ALPHA = 0.05
_NOTHING = "Not run yet: `gdpo-bench simulate {}`."
_PICTURE = "![Shares that learned, tuned, with intervals; filled: told apart from GDPO](images/who-wins-where.png)"
_MARKS = {(0, 1): "▲", (0, -1): "▼", (1, 1): "△", (1, -1): "▽"}
"""Which reference, and whether better or worse → mark."""
EVERYWHERE = "everywhere"

Unit = tuple[str, int]
"""Cell and seed: units share no randomness."""
Outcomes = Mapping[Unit, bool]
"""Who has learned."""
Rates = Mapping[float, Mapping[Unit, float]]
"""Learning rate → unit → share of replies that do all that is asked, at the end."""


@dataclass(frozen=True)
class Runs:
    """The runs of a design."""

    levels: Mapping[Unit, Mapping[str, str]]
    """Unit → factor → level."""
    of: Mapping[str, Rates]
    """Estimator → its runs, in the order of the design."""

    def places(self) -> dict[str, list[Unit]]:
        """All units, and those at each level of each factor."""
        found = {EVERYWHERE: list(self.levels)}
        for factor in next(iter(self.levels.values())):
            for level in dict.fromkeys(levels[factor] for levels in self.levels.values()):
                found[f"{factor} {level}"] = [unit for unit, levels in self.levels.items() if levels[factor] == level]
        return found


def read(text: str) -> Runs:
    """Runs from the table that is kept."""
    levels: dict[Unit, dict[str, str]] = {}
    of: dict[str, dict[float, dict[Unit, float]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        name, rate, seed, all_right = (row.pop(key) for key in ("normalizer", "learning_rate", "seed", "all_right"))
        unit = (json.dumps(row, sort_keys=True), int(seed))
        levels[unit] = row
        of.setdefault(name, {}).setdefault(float(rate), {})[unit] = float(all_right)
    return Runs(levels, of)


def outcomes(rates: Rates, units: Sequence[Unit], *, tuned: bool) -> Outcomes:
    """Who learned among units that an estimator took part in.

    Tuned: for each seed at the rate that is best over the other seeds of these units; of equal ones the lowest.
    """
    own = [unit for unit in units if unit in rates[UNTUNED]]
    if not tuned:
        return {unit: rates[UNTUNED][unit] > LEARNED for unit in own}
    chosen = {}
    for seed in {seed for _, seed in own}:
        others = [unit for unit in own if unit[1] != seed]
        chosen[seed] = max(sorted(rates), key=lambda rate: round(float(np.mean([rates[rate][u] for u in others])), 12))
    return {unit: rates[chosen[unit[1]]][unit] > LEARNED for unit in own}


@dataclass(frozen=True)
class Verdicts:
    """An estimator at a place."""

    count: Count
    against: tuple[int | None, ...]
    """Against each reference: 1 better, -1 worse, 0 not told apart; None against itself."""

    @property
    def marks(self) -> str:
        """Whatever is not a tie."""
        return "".join(_MARKS.get((i, sign or 0), "") for i, sign in enumerate(self.against))


def judged(found: Mapping[tuple[str, str], Outcomes], references: Sequence[str]) -> dict[tuple[str, str], Verdicts]:
    """Verdicts that hold together.

    Args:
        found: (place, estimator) → outcomes: everything that a table tells of.
        references: What each is compared with.
    """
    pairs = [(key, other) for key in found for other in references if key[1] != other]
    differences = [
        {unit: float(own) - float(found[key[0], other][unit]) for unit, own in found[key].items()}
        for key, other in pairs
    ]
    p_values = corrected(differences)
    signs = {
        pair: int(np.sign(sum(one.values()))) if p is not None and p <= _ALPHA + 1e-12 else 0
        for pair, one, p in zip(pairs, differences, p_values, strict=True)
    }
    return {
        key: Verdicts(Count.of(list(own.values())), tuple(None if key[1] == o else signs[key, o] for o in references))
        for key, own in found.items()
    }


def everywhere(runs: Runs, *, tuned: bool) -> dict[tuple[str, str], Verdicts]:
    """Every estimator at every place, against `gdpo` and `grpo_scaled`."""
    found = {
        (place, name): outcomes(rates, units, tuned=tuned)
        for place, units in runs.places().items()
        for name, rates in runs.of.items()
    }
    return judged({key: own for key, own in found.items() if own}, REFERENCES)


def counts(seen: Mapping[tuple[str, str], Verdicts]) -> str:
    """A row an estimator, a column a place; who learned most everywhere first."""
    places, names = ([*dict.fromkeys(key[i] for key in seen)] for i in (0, 1))
    names.sort(key=lambda name: -seen[EVERYWHERE, name].count.k / seen[EVERYWHERE, name].count.n)
    rows = []
    for name in names:
        cells = [_text(seen.get((place, name)), interval=place == EVERYWHERE) for place in places]
        rows.append([f"`{name}`", *cells])
    return markdown(["", *places], rows)


def _text(one: Verdicts | None, *, interval: bool) -> str:
    if one is None:
        return "no part"
    count = one.count
    told = f"{count.k} of {count.n} [{count.low:.2f}, {count.high:.2f}]" if interval else f"{count.k} of {count.n}"
    return f"{told} {one.marks}".strip()


def verdicts(seen: Mapping[tuple[str, str], Verdicts]) -> str:
    """A row a place: who is better and who is worse than each reference, and how many are ties."""
    rows = []
    for place in dict.fromkeys(place for place, _ in seen):
        row = [place]
        for i, reference in enumerate(REFERENCES):
            signs = {
                name: one.against[i] for (where, name), one in seen.items() if where == place and name != reference
            }
            for wanted in (1, -1):
                row.append(_names(name for name, sign in signs.items() if sign == wanted))
            row.append(str(sum(sign == 0 for sign in signs.values())))
        rows.append(row)
    header = [text for name in REFERENCES for text in (f"better than `{name}`", f"worse than `{name}`", "ties")]
    return markdown(["", *header], rows)


def headline(found: Mapping[str, Mapping[tuple[str, str], Verdicts]]) -> str:
    """What the tables come to, in sentences.

    Args:
        found: `tuned` and `untuned` → verdicts.
    """
    lines = []
    for word, seen in found.items():
        here = {name: one.against for (place, name), one in seen.items() if place == EVERYWHERE}
        told = []
        for i, reference in enumerate(REFERENCES):
            signs = {name: against[i] for name, against in here.items() if name != reference}
            told.append(
                f"better than `{reference}` {_names(name for name, sign in signs.items() if sign == 1)}, worse "
                f"{_names(name for name, sign in signs.items() if sign == -1)}, "
                f"{sum(sign == 0 for sign in signs.values())} ties"
            )
        lines.append(f"- **{word.capitalize()}, over all worlds:** {'; '.join(told)}.")
    both = {
        name: [
            f"{place} ({word})"
            for word, seen in found.items()
            for (place, of), one in seen.items()
            if of == name and set(one.against) == {1}
        ]
        for name in dict.fromkeys(name for seen in found.values() for _, name in seen)
    }
    winners = [f"`{name}` at {', '.join(places)}" for name, places in both.items() if places]
    lines.append(f"- **Better than both, in any column of either table:** {'; '.join(winners) or 'none'}.")
    return "\n".join(lines)


def _names(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in found) or "none"


def one_factor(runs: Runs) -> str:
    """A design of one factor: each learning rate and tuned, against `gdpo`."""
    settings: list[float | None] = [*sorted(next(iter(runs.of.values()))), None]
    places = {place: units for place, units in runs.places().items() if place != EVERYWHERE}
    found: dict[tuple[str, str], Outcomes] = {}
    for place, units in places.items():
        for rate in settings:
            for name, rates in runs.of.items():
                one = {unit: rates[rate][unit] > LEARNED for unit in units} if rate else {}
                found[f"{place} {rate}", name] = one or outcomes(rates, units, tuned=True)
    seen = judged(found, REFERENCES[:1])
    rows = [
        [f"{place}, `{name}`", *(_text(seen[f"{place} {rate}", name], interval=True) for rate in settings)]
        for place in places
        for name in runs.of
    ]
    return markdown(["", *("tuned" if rate is None else f"learning rate {rate:g}" for rate in settings)], rows)


def sections(runs: Mapping[str, Runs]) -> dict[str, str]:
    """Section of the page → its text."""
    told = {name: one_factor(runs[name]) if name in runs else _NOTHING.format(name) for name in DESIGNS[1:]}
    if "estimators" not in runs:
        empty = ("headline", "picture", "tuned verdicts", "tuned counts", "untuned verdicts", "untuned counts")
        return told | dict.fromkeys(empty, _NOTHING.format("estimators"))
    found = {word: everywhere(runs["estimators"], tuned=word == "tuned") for word in ("tuned", "untuned")}
    for word, seen in found.items():
        told |= {f"{word} verdicts": verdicts(seen), f"{word} counts": counts(seen)}
    return told | {"headline": headline(found), "picture": _PICTURE}


def kept_runs() -> dict[str, Runs]:
    """Design → its runs, of those that are kept."""
    files = {name: KEPT / f"{name}.csv.gz" for name in DESIGNS}
    return {name: read(gzip.decompress(file.read_bytes()).decode()) for name, file in files.items() if file.is_file()}


def keep(simulations: Path) -> None:
    """Write the runs of each design that was simulated to its end as a compressed table.

    Raises:
        SystemExit: A design was simulated twice, in two ways.
    """
    for design in DESIGNS:
        folders = sorted(simulations.glob(f"{design}-*/runs.csv"))
        if len(folders) > 1:
            sys.exit(f"Expected one simulation of {design!r} in {simulations}; got {', '.join(map(str, folders))}.")
        for folder in folders:
            text = shortened(folder.read_text(encoding="utf-8"))
            write_atomically(KEPT / f"{design}.csv.gz", gzip.compress(text.encode(), mtime=0))


def shortened(text: str) -> str:
    """A simulation's `runs.csv` with what counts here, in six digits."""
    rows = list(csv.DictReader(io.StringIO(text)))
    kept = [name for name in rows[0] if name != "area" and "." not in name]
    out = io.StringIO()
    writer = csv.DictWriter(out, kept, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"all_right": f"{float(row['all_right']):.6f}"} for row in rows)
    return out.getvalue()


def main() -> int:
    """Keep runs, write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, default=Path("docs/who-wins-where.md"), help="the page")
    parser.add_argument("--simulations", type=Path, help="folder of finished simulations, whose runs are kept")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table would change")
    chosen = parser.parse_args()
    if chosen.simulations:
        keep(chosen.simulations)
    runs = kept_runs()
    page = filled(chosen.markdown, sections(runs))
    if not chosen.check:
        write_atomically(chosen.markdown, page)
        if "estimators" in runs:
            seen = everywhere(runs["estimators"], tuned=True)
            who_wins_where_picture.draw(seen, chosen.markdown.parent / "images" / "who-wins-where.png")
    elif page != chosen.markdown.read_bytes():
        print(f"The tables of {chosen.markdown} do not follow from the runs that are kept.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
