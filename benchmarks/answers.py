"""The tables of the job `answers`: normalizers over learning rates, tuned and untuned, at each horizon.

What tunes is what the plan declares: tuning seeds choose each normalizer's learning rate, other seeds measure it, and
all learning rates are shown. What a cell is, and when it is bold, `tables` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tables import Cell, Row, absolute, against, bounds, markdown, table, verdicts

from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.core.intervals import clopper_pearson
from gdpo_bench.leaderboard.compare.learning import learning
from gdpo_bench.leaderboard.compare.statistics import Verdict
from gdpo_bench.leaderboard.compare.tuning import Trial, TunedSetting, at_horizon, tuned_settings
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry
from gdpo_bench.leaderboard.show.table import CHOSEN, estimate_text, interval_text, rounded

ENVIRONMENT, OPTIONS = "gdpo/ToolCallingMini-v1", {"format_rate": 0.04}
HORIZONS = (40, 120)
BASE = "grpo"
NORMALIZERS = (BASE, "gdpo", "grpo_scaled", "pass_at_k")
"""In the order of the tables; what else a plan has follows."""
QUANTITIES = (ALL_RIGHT, "format", "correctness")
BESIDE = (("gdpo", "grpo_scaled"), ("saw", "gdpo"), ("sa_mrpo", "gdpo"))
"""Whose difference is told beside that to the baseline: what may do the same as GDPO, or more."""
COMPARED = (*((name, BASE) for name in ("gdpo", "grpo_scaled", "pass_at_k", "saw", "sa_mrpo")), *BESIDE)
_DEFAULT = TrainingOptions().learning_rate
_MARKS: Mapping[Verdict | None, str] = {"better": "+", "worse": "−", "equal": "=", "undecided": "=", None: "–"}
_NOTHING = "No entries yet: `python -m gdpo_bench.run answers --block 40` makes them."

Trials = Mapping[str, Sequence[tuple[Trial, Entry]]]
"""Normalizer → its trials with their entries of the test seeds, by learning rate."""


def settings(entries: Sequence[Entry]) -> list[TunedSetting]:
    """The plans that tune on the job's environment, at its horizons.

    Args:
        entries: Of a board, tuning seeds included, completed from their sidecars.
    """
    fitting = [
        entry
        for entry in entries
        if (entry.environment.id, entry.environment.options) == (ENVIRONMENT, OPTIONS)
        and entry.policy.name == "mini"
        and entry.plan is not None
        and entry.plan.horizons == list(HORIZONS)
    ]
    return tuned_settings(fitting)


def trials(entries: Sequence[Entry]) -> Trials:
    """The job's trials: those of every normalizer that was tested at each learning rate.

    Args:
        entries: Of a board, tuning seeds included, completed from their sidecars.

    Raises:
        LookupError: A normalizer has trials in two plans.
    """
    tried = tried_once([setting for setting in settings(entries) if setting.all_tested])
    found = {name: [(one, one.outcome.entry) for one in own if one.outcome] for name, own in tried.items()}
    known = [name for name in NORMALIZERS if name in found]
    return {name: found[name] for name in [*known, *sorted(found.keys() - set(known))]}


def tried_once(plans: Sequence[TunedSetting]) -> dict[str, Sequence[Trial]]:
    """Normalizer → its trials.

    Raises:
        LookupError: A normalizer has trials in two of the plans.
    """
    found: dict[str, Sequence[Trial]] = {}
    for setting in plans:
        if again := sorted(found.keys() & setting.normalizers):
            raise LookupError(f"{', '.join(again)}: in more than one plan, of which {setting.plan} is one")
        found |= setting.normalizers
    return found


def at_step(entry: Entry, step: int) -> Entry:
    """As it stood at a horizon."""
    return at_horizon(entry, step) or entry


def _chosen(own: Sequence[tuple[Trial, Entry]]) -> Trial:
    return next(one for one, _ in own if one.chosen)


def learning_rates(found: Trials) -> list[float]:
    """All that were tried, ascending."""
    return sorted({one.learning_rate for own in found.values() for one, _ in own})


def _at_rate(found: Trials, name: str, rate: float | None) -> Entry | None:
    """The entry of a normalizer at a learning rate; without one at that which tuning chose."""
    own = found.get(name, ())
    return next((entry for one, entry in own if (one.chosen if rate is None else one.learning_rate == rate)), None)


def _compared(found: Trials, name: str, rate: float | None, step: int) -> list[Cell]:
    """Each quantity of a normalizer, and its difference to the baseline."""
    entry, base = (_at_rate(found, one, rate) for one in (name, BASE))
    own, theirs = (at_step(one, step) if one else None for one in (entry, base))
    return [*absolute(own, QUANTITIES), *([""] * 3 if name == BASE else against(own, theirs, QUANTITIES))]


def _tuned_rows(found: Trials) -> list[Row]:
    return [
        (f"{step} steps, `{name}` at {_chosen(own).learning_rate:g}", _compared(found, name, None, step))
        for step in HORIZONS
        for name, own in found.items()
    ]


def _rate_rows(found: Trials) -> list[Row]:
    return [
        (f"{step} steps, {_named(rate)}, `{name}`", _compared(found, name, rate, step))
        for step in HORIZONS
        for rate in learning_rates(found)
        for name in found
    ]


def _beside_rows(found: Trials) -> list[Row]:
    rows = []
    for (first, second), (step, rate) in _beside_settings(found):
        pair = [_at_rate(found, name, rate) for name in (first, second)]
        ours, theirs = (at_step(one, step) if one else None for one in pair)
        label = f"`{first}` − `{second}`, {step} steps, {'tuned' if rate is None else _named(rate)}"
        rows.append((label, against(ours, theirs, QUANTITIES)))
    return rows


def _beside_settings(found: Trials) -> list[tuple[tuple[str, str], tuple[int, float | None]]]:
    """Pair, and horizon with learning rate (None: tuned)."""
    settings = [(step, rate) for step in HORIZONS for rate in (*learning_rates(found), None)]
    return [(pair, setting) for pair in BESIDE if set(pair) <= set(found) for setting in settings]


def _named(rate: float) -> str:
    return f"{rate:g} (untuned)" if rate == _DEFAULT else f"{rate:g}"


_HEADER = (*QUANTITIES, *(f"− {BASE}, {name}" for name in QUANTITIES))


def tuned(found: Trials) -> str:
    """Each normalizer at the learning rate that the tuning seeds chose."""
    return table(["", *_HEADER], _tuned_rows(found))


def rates(found: Trials) -> str:
    """The whole curve: every learning rate, differences at the same one."""
    return table(["", *_HEADER], _rate_rows(found))


def beside(found: Trials) -> str:
    """Whether dividing by declared ranges does the same as GDPO, and the twin's best more."""
    return table(["", *QUANTITIES], _beside_rows(found))


def choice(found: Trials) -> str:
    """What chose: the target's mean over the tuning seeds, at the end."""
    rows = []
    for name, own in found.items():
        texts = tuning_texts([one for one, _ in own])
        rows.append([f"`{name}`", *(texts[rate] for rate in learning_rates(found))])
    return markdown(["tuning seeds, all right", *(f"{rate:g}" for rate in learning_rates(found))], rows)


def tuning_texts(own: Sequence[Trial]) -> dict[float, str]:
    """Learning rate → the target's mean over the tuning seeds, with an arrow at what it chose."""
    return {one.learning_rate: rounded(one.tuning, 2) + (f" {CHOSEN}" if one.chosen else "") for one in own}


def learned(found: Trials) -> str:
    """Who learned what, how early, and how much of it over the whole of training."""
    names = (ALL_RIGHT, "format")
    rows = []
    for rate in learning_rates(found):
        for name in found:
            entry = _at_rate(found, name, rate)
            texts = [_learned(entry, quantity) for quantity in names] if entry else [["–"] * 3] * len(names)
            rows.append([f"{_named(rate)}, `{name}`", *(text for own in texts for text in own)])
    header = [f"{quantity}: {what}" for quantity in names for what in ("learned", "step", "area")]
    return markdown(["", *header], rows)


def _learned(entry: Entry, name: str) -> list[str]:
    seen = learning(entry, name, bounds(entry, name))
    if seen is None:
        return ["–"] * 3
    count = f"{seen.learned} of {seen.n} {interval_text(clopper_pearson(seen.learned, seen.n), 2)}"
    return [count, "never" if seen.step is None else f"{seen.step:g}", estimate_text(seen.area, 2)]


Judged = Mapping[tuple[str, str], Mapping[tuple[int, float | None], Sequence[Verdict | None]]]
"""First and second normalizer → horizon and learning rate (None: tuned) → verdict on each quantity."""


def judged(found: Trials) -> Judged:
    """What the tables mark, by what is compared."""
    each = [(step, rate) for step in HORIZONS for rate in learning_rates(found)]
    chosen: list[tuple[int, float | None]] = [(step, None) for step in HORIZONS]
    told: list[tuple[Sequence[Row], list[tuple[tuple[str, str], tuple[int, float | None]]]]] = [
        (_rate_rows(found), [((name, BASE), setting) for setting in each for name in found]),
        (_tuned_rows(found), [((name, BASE), setting) for setting in chosen for name in found]),
        (_beside_rows(found), _beside_settings(found)),
    ]
    seen: dict[tuple[str, str], dict[tuple[int, float | None], Sequence[Verdict | None]]] = {}
    for rows, names in told:
        for (pair, setting), verdict in zip(names, verdicts(rows), strict=True):
            seen.setdefault(pair, {})[setting] = verdict[-len(QUANTITIES) :]
    return seen


def overview(found: Trials) -> str:
    """What holds over the whole range: marks by learning rate, and in brackets of the tuned rows."""
    seen, nothing = judged(found), [None] * len(QUANTITIES)
    pairs = [pair for pair in COMPARED if set(pair) <= set(found)]
    lines = []
    for i, quantity in enumerate(QUANTITIES):
        for step in HORIZONS:
            cells = []
            for pair in pairs:
                *marks, tuned_mark = [
                    _MARKS[seen.get(pair, {}).get((step, rate), nothing)[i]] for rate in (*learning_rates(found), None)
                ]
                cells.append(f"{' '.join(marks)} ({tuned_mark})")
            lines.append([f"{quantity}, {step} steps", *cells])
    return markdown(["", *(f"`{first}` − `{second}`" for first, second in pairs)], lines)


def headlines(found: Trials) -> str:
    """The overview in words: what holds everywhere, what never does, and what depends."""
    seen = judged(found)
    everywhere, never, depends = [], [], []
    for first, second in COMPARED:
        if not {first, second} <= set(found):
            continue
        for i, quantity in enumerate(QUANTITIES):
            marks = {setting: _MARKS[verdict[i]] for setting, verdict in seen[first, second].items()}
            what = f"`{first}` against `{second}` in {quantity}"
            if set(marks.values()) in ({"+"}, {"−"}):
                everywhere.append(f"{what} ({'better' if '+' in marks.values() else 'worse'})")
            elif set(marks.values()) == {"="}:
                never.append(what)
            else:
                depends.append(f"{what}: {_where(marks)}")
    return "\n".join(
        [
            f"- **The same at each learning rate, tuned, and at both horizons:** {'; '.join(everywhere) or 'nothing'}.",
            f"- **Told apart nowhere:** {'; '.join(never) or 'nothing'}.",
            f"- **Depends on learning rate or horizon:** {'; '.join(depends) or 'nothing'}. Elsewhere not told apart.",
        ]
    )


def _where(marks: Mapping[tuple[int, float | None], str]) -> str:
    said = []
    for word, mark in (("better", "+"), ("worse", "−")):
        for step in HORIZONS:
            at = [rate for (own, rate), found in marks.items() if own == step and found == mark]
            if at:
                names = ["tuned" if rate is None else f"{rate:g}" for rate in at]
                said.append(f"{word} after {step} steps ({', '.join(names)})")
    return ", ".join(said)


def plan(found: Trials) -> str:
    """What was run: normalizers, learning rates, warm starts, plans."""
    entries = [entry for own in found.values() for _, entry in own]
    plans = {entry.plan.hash: entry.plan.declared for entry in entries if entry.plan}
    tuning = {len(declared["tuning"]["seeds"]) for declared in plans.values()}
    return (
        f"Run: {', '.join(f'`{name}`' for name in found)} at learning rates "
        f"{', '.join(f'{rate:g}' for rate in learning_rates(found))}; "
        f"{_numbers({len(entry.results) for entry in entries})} warm starts measure, {_numbers(tuning)} others tune; "
        f"plan {', '.join(f'`{name}`' for name in plans)}."
    )


def _numbers(found: set[int]) -> str:
    return " or ".join(map(str, sorted(found)))


def picture(found: Trials) -> str:
    """Where `answers_picture.draw` is shown."""
    horizons = " and ".join(map(str, HORIZONS))
    return f"![{', '.join(QUANTITIES)} over learning rates, at {horizons} steps](images/answers.png)"


_TABLES: Mapping[str, Callable[[Trials], str]] = {
    "answers plan": plan,
    "answers headlines": headlines,
    "answers overview": overview,
    "answers picture": picture,
    "answers tuned": tuned,
    "answers choice": choice,
    "answers rates": rates,
    "answers beside": beside,
    "answers learned": learned,
}


def _or_nothing(make: Callable[[Trials], str]) -> Callable[[Trials], str]:
    return lambda found: make(found) if found else _NOTHING


SECTIONS: Mapping[str, Callable[[Trials], str]] = {name: _or_nothing(make) for name, make in _TABLES.items()}
"""Section of docs/findings.md → what writes it."""
