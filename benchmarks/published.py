"""The tables of the job `answers-published`: each estimator at the learning rate that its tuning seeds chose.

Those of `answers` stand beside them: same environment, learning rates, tuning seeds, warm starts and steps. Whoever was
tested at one learning rate only has no place in the tables over learning rates.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from answers import HORIZONS, QUANTITIES, at_step, settings, tried_once, tuning_texts
from tables import RANKED, Row, absolute, against, markdown, ranked, table, values

from gdpo_bench.leaderboard.compare.statistics import mean
from gdpo_bench.leaderboard.compare.tuning import Trial
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry

REFERENCES = ("gdpo", "grpo_scaled", "grpo")
_NOTHING = "No entries yet: `python -m gdpo_bench.run answers-published` makes them."

Tuned = Mapping[str, tuple[Sequence[Trial], Entry]]
"""Normalizer → all that was tried of it, and its entry of the test seeds at what was chosen."""


def tuned(entries: Sequence[Entry]) -> Tuned:
    """Every normalizer that was tuned on the job's environment, the best in all rewards at once first.

    Args:
        entries: Of a board, tuning seeds included, completed from their sidecars.

    Raises:
        LookupError: A normalizer has trials in two plans of one kind; of two kinds the plan that tests all counts.
    """
    plans = settings(entries)
    apart = [[one for one in plans if one.all_tested is whole] for whole in (False, True)]
    tried = tried_once(apart[0]) | tried_once(apart[1])
    found = {name: (own, one.outcome.entry) for name, own in tried.items() for one in own if one.chosen and one.outcome}
    return dict(sorted(found.items(), key=lambda named: -mean(values(named[1][1], ALL_RIGHT))))


def _differences(found: Tuned, reference: str, step: int) -> list[Row]:
    base = found[reference][1]
    others = [(name, entry) for name, (_, entry) in found.items() if name != reference]
    return [(name, against(at_step(entry, step), at_step(base, step), QUANTITIES)) for name, entry in others]


def horizon(found: Tuned, step: int) -> str:
    """What each has learned by a step, and its difference to GDPO."""
    differences = dict(_differences(found, REFERENCES[0], step))
    rows: list[Row] = [
        (
            f"`{name}` at {_rate(own):g}",
            [*absolute(at_step(entry, step), QUANTITIES), *differences.get(name, [""] * len(QUANTITIES))],
        )
        for name, (own, entry) in found.items()
    ]
    return table([f"{step} steps", *QUANTITIES, *(f"− {REFERENCES[0]}, {name}" for name in QUANTITIES)], rows)


def told_apart(found: Tuned) -> str:
    """Who is better or worse than each reference, in what, by when; corrected over all that stands beside it then."""
    lines = []
    for reference, step in itertools.product((one for one in REFERENCES if one in found), HORIZONS):
        label = f"against `{reference}`, {{}}, {step} steps"
        lines += ranked(label, _differences(found, reference, step), QUANTITIES)
    return markdown(RANKED, lines)


def choice(found: Tuned) -> str:
    """What chose: the target's mean over the tuning seeds, at the end."""
    rates = sorted({one.learning_rate for own, _ in found.values() for one in own})
    lines = []
    for name, (own, entry) in found.items():
        at = tuning_texts(own)
        plan = entry.plan.hash if entry.plan else ""
        lines.append([f"`{name}`", *(at.get(rate, "") for rate in rates), f"`{plan}`"])
    return markdown(["tuning seeds, all right", *(f"{rate:g}" for rate in rates), "plan"], lines)


def _rate(own: Sequence[Trial]) -> float:
    return next(one.learning_rate for one in own if one.chosen)


def sections(found: Tuned) -> dict[str, str]:
    """Section of docs/findings.md → its text."""
    names = ("published choice", "published told apart", *(f"published {step} steps" for step in HORIZONS))
    if REFERENCES[0] not in found:
        return dict.fromkeys(names, _NOTHING)
    texts = (choice(found), told_apart(found), *(horizon(found, step) for step in HORIZONS))
    return dict(zip(names, texts, strict=True))
