"""Tables of the job `answers`: tuned by some seeds, measured by others, at both horizons and all learning rates."""

import numpy as np
import pytest
from PIL import Image

from gdpo_bench.leaderboard.files.schema import PlanReference

DECLARED = {
    "tuning": {"learning_rates": [3e-4, 1e-3], "options": {}, "seeds": ["10:10", "11:11"], "target": "all right"},
    "horizons": [40, 120],
    "clusters": 10,
}
STEPS = (0, 20, 40, 80, 120)
FINAL = {
    ("grpo", 3e-4): (0.3, 0.2),
    ("grpo", 1e-3): (0.8, 0.6),
    ("gdpo", 3e-4): (0.9, 0.9),
    ("gdpo", 1e-3): (0.81, 0.8),
}
"""Normalizer and learning rate → share of right replies at the end, and on the tuning seeds."""


@pytest.fixture
def answers(benchmark):
    return benchmark("answers")


@pytest.fixture
def drawing(benchmark):
    return benchmark("answers_picture")


@pytest.fixture
def board(tuned_entry):
    """Entries of a job like `answers`: half of what is learned is there after 40 steps."""

    def make(name, rate, *, tuning):
        luck = np.random.default_rng([int(rate * 1e4), tuning])
        finals = FINAL[name, rate][tuning] + luck.normal(0, 0.02, 2 if tuning else 10)
        return tuned_entry(name, rate, finals, "tuning" if tuning else "test", declared=DECLARED, steps=STEPS)

    return [make(name, rate, tuning=tuning) for name, rate in FINAL for tuning in (True, False)]


def row(text, label):
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_tuned_rows_stand_at_what_the_tuning_seeds_chose(answers, board):
    text = answers.tuned(answers.trials(board))
    assert row(text, "120 steps, `grpo` at 0.001")[1:3] == ["10", "0.80 ±0.01"]
    assert row(text, "120 steps, `gdpo` at 0.0003")[5].startswith("**+0.10 ±")
    assert row(text, "40 steps, `gdpo` at 0.0003")[2].startswith("0.45 ±")


def test_every_learning_rate_stands_beside_the_baseline_at_the_same_one(answers, board):
    text = answers.rates(answers.trials(board))
    assert len(text.splitlines()) == 2 + 2 * 2 * 2
    assert row(text, "120 steps, 0.0003 (untuned), `gdpo`")[5].startswith("**+0.60")
    assert row(text, "120 steps, 0.001, `gdpo`")[5] == "**+0.01 ±0.00**"


def test_the_overview_marks_what_the_tables_mark(answers, board):
    text = answers.overview(answers.trials(board))
    assert row(text, "all right, 120 steps")[1] == "+ + (+)"
    assert "pass_at_k" not in text  # there is none


def test_headlines_say_what_holds_everywhere_and_what_depends(answers, board):
    text = answers.headlines(answers.trials(board))
    assert "at both horizons:** `gdpo` against `grpo` in all right (better)" in text
    assert "grpo_scaled" not in text  # no such entries
    level = [one if one.training["learning_rate"] == 3e-4 else level_with(board, one) for one in board]
    text = answers.headlines(answers.trials(level))
    assert "in all right: better after 40 steps (0.0003, tuned), better after 120 steps (0.0003, tuned)" in text


def level_with(board, one):
    """GDPO's results at 0.001 are GRPO's there."""
    same = [other for other in board if other.plan.role == one.plan.role and other.training == one.training]
    return one.model_copy(update={"results": same[0].results})


def test_who_learned_is_counted_over_the_whole_of_training(answers, board):
    text = answers.learned(answers.trials(board))
    assert row(text, "0.0003 (untuned), `grpo`")[1:3] == ["0 of 10 [0.00, 0.31]", "never"]
    assert row(text, "0.0003 (untuned), `gdpo`")[1:3] == ["10 of 10 [0.69, 1.00]", "80"]


def test_tuning_seeds_are_told_and_the_choice_is_marked(answers, board):
    text = answers.choice(answers.trials(board))
    assert row(text, "`grpo`")[2].endswith("←")
    assert row(text, "`gdpo`")[1].endswith("←")


def test_a_normalizer_with_missing_trials_is_left_out(answers, board):
    found = answers.trials(board[1:])
    assert list(found) == ["gdpo"]
    assert "– | – | – |" in answers.tuned(found)
    assert answers.SECTIONS["answers tuned"]({}).startswith("No entries yet")


def test_a_normalizer_may_come_from_a_plan_of_its_own_but_not_from_two(answers, board):
    def other(one):
        return one.model_copy(update={"plan": PlanReference.of(DECLARED | {"clusters": 5}, one.plan.role)})

    apart = [*board[:4], *map(other, board[4:])]
    assert answers.tuned(answers.trials(apart)) == answers.tuned(answers.trials(board))
    assert answers.plan(answers.trials(apart)).count("`") == 2 * (2 + 2)
    assert "10 warm starts measure, 2 others tune" in answers.plan(answers.trials(board))
    with pytest.raises(LookupError, match="gdpo, grpo: in more than one plan"):
        answers.trials([*board, *map(other, board)])


def test_what_may_do_the_same_as_gdpo_stands_beside_it_where_it_was_run(answers, board):
    found = answers.trials(board)
    lines = answers.beside({**found, "saw": found["gdpo"]}).splitlines()
    assert lines[2] == "| `saw` − `gdpo`, 40 steps, 0.0003 (untuned) | 10 | +0.00 ±0.00 | +0.00 ±0.00 | +0.00 ±0.00 |"
    assert len(lines) == 2 + 2 * 3
    assert len(answers.beside(found).splitlines()) == 2


def test_a_picture_is_the_same_for_the_same_numbers_and_names_them(answers, drawing, board, tmp_path):
    found = answers.trials(board)
    for name in ("one.png", "two.png"):
        drawing.draw(found, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert Image.open(tmp_path / "one.png").width > 500
    assert drawing.drawn_from(found, tmp_path / "one.png")
    assert not drawing.drawn_from(answers.trials(board[4:]), tmp_path / "one.png")
    assert not drawing.drawn_from({}, tmp_path / "one.png")
    drawing.draw({}, tmp_path / "one.png")
    assert drawing.drawn_from({}, tmp_path / "one.png")
