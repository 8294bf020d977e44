"""Tables of the job `answers-published`: each normalizer at its tuned learning rate, beside those of `answers`."""

import numpy as np
import pytest

from gdpo_bench.leaderboard.files.schema import PlanReference

TUNING = {"learning_rates": [3e-4, 1e-3], "options": {}, "seeds": ["10:10", "11:11"], "target": "all right"}
ANSWERS = {"tuning": TUNING, "horizons": [40, 120], "clusters": 10}
PUBLISHED = ANSWERS | {"tuning": TUNING | {"tested": "chosen"}}
STEPS = (0, 40, 120)
TUNED = {"grpo": (0.1, 0.2), "gdpo": (0.5, 0.6), "rvpo": (0.3, 0.2), "dara": (0.5, 0.7)}
"""Normalizer → its mean on the tuning seeds at each learning rate."""
TESTED = {"grpo": (0.1, 0.2), "gdpo": (0.5, 0.6), "rvpo": (0.3, None), "dara": (None, 0.6)}
"""Normalizer → its mean on the test seeds at each learning rate, where it was tested."""


@pytest.fixture
def published(benchmark):
    return benchmark("published")


@pytest.fixture
def make(tuned_entry):
    def made(name, rate, level, role, declared):
        finals = level + np.random.default_rng(7).normal(0, 0.02, 2 if role == "tuning" else 10)
        return tuned_entry(name, rate, finals[::-1] if name == "dara" else finals, role, declared=declared, steps=STEPS)

    return made


@pytest.fixture
def board(make):
    return [
        make(name, rate, level, role, ANSWERS if name in ("grpo", "gdpo") else PUBLISHED)
        for role, levels in (("tuning", TUNED), ("test", TESTED))
        for name, own in levels.items()
        for rate, level in zip(TUNING["learning_rates"], own, strict=True)
        if level is not None
    ]


def row(text, label):
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_each_stands_at_what_its_tuning_chose_the_best_first(published, board):
    found = published.tuned(board)
    assert list(found)[2:] == ["rvpo", "grpo"]
    text = published.horizon(found, 120)
    assert row(text, "`rvpo` at 0.0003")[1:3] == ["10", "0.30 ±0.01"]
    assert row(text, "`rvpo` at 0.0003")[5].startswith("**-0.30 ±")
    assert row(text, "`gdpo` at 0.001")[5:] == ["", "", ""]
    assert row(published.horizon(found, 40), "`rvpo` at 0.0003")[2].startswith("0.15 ±")


def test_ties_are_counted_as_ties(published, board):
    text = published.told_apart(published.tuned(board))
    assert row(text, "against `gdpo`, all right, 120 steps")[1:] == ["none", "`rvpo`, `grpo`", "1"]
    assert row(text, "against `grpo`, all right, 120 steps")[2:] == ["none", "0"]
    assert "grpo_scaled" not in text  # it was not run


def test_what_is_bold_is_what_is_told_apart(published, board):
    found = published.tuned(board)
    for step in (40, 120):
        bold = [
            line.split("`")[1] for line in published.horizon(found, step).splitlines() if "**-" in line.split("|")[6]
        ]
        worse = row(published.told_apart(found), f"against `gdpo`, all right, {step} steps")[2]
        assert worse == ", ".join(f"`{name}`" for name in bold)


def test_what_was_tried_and_chosen_stands_with_its_plan(published, board):
    text = published.choice(published.tuned(board))
    assert row(text, "`rvpo`")[1:3] == ["0.30 ←", "0.20"]
    assert row(text, "`dara`")[3] == f"`{PlanReference.of(PUBLISHED, 'test').hash}`"


def test_who_was_tested_at_one_learning_rate_is_in_no_table_of_all(benchmark, board):
    assert set(benchmark("answers").trials(board)) == {"grpo", "gdpo"}


def test_who_was_tested_at_each_rate_later_stands_with_that_and_twice_of_a_kind_is_an_error(published, make, board):
    def later(declared):
        return [
            make("dara", rate, level, role, declared)
            for role in ("tuning", "test")
            for rate, level in zip(TUNING["learning_rates"], (0.9, 0.8), strict=True)
        ]

    whole = ANSWERS | {"clusters": 9}
    assert published._rate(published.tuned([*board, *later(whole)])["dara"][0]) == 3e-4
    with pytest.raises(LookupError, match="dara: in more than one plan"):
        published.tuned([*board, *later(whole), *later(ANSWERS | {"clusters": 8})])


def test_without_gdpo_there_is_nothing_to_compare_with(published, board):
    others = [one for one in board if one.normalizer.name != "gdpo"]
    assert set(published.sections(published.tuned(others)).values()) == {
        "No entries yet: `python -m gdpo_bench.run answers-published` makes them."
    }
