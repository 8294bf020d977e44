"""Tables of the job `published-minis`: each normalizer beside GDPO, at both horizons."""

import numpy as np
import pytest

from gdpo_bench import RewardSpec
from gdpo_bench.leaderboard import Curve, Seed
from gdpo_bench.leaderboard.files.schema import PlanReference

MATH = "gdpo/MathMini-v1"
SPECS = [RewardSpec(name, 0, 1) for name in ("correct", "length", "format", "integer")]
PLAN = PlanReference.of({"horizons": [20, 40], "clusters": 10}, "test")


@pytest.fixture
def minis(benchmark):
    return benchmark("published_minis")


@pytest.fixture
def make(entry):
    def made(name, level, *, plan=PLAN, spread=7):
        finals = level + np.random.default_rng(spread).normal(0, 0.02, 10)
        seeds = [Seed(warm_start=i, rl=i) for i in range(10)]
        found = entry(name, finals, environment=MATH, specs=SPECS, seeds=seeds, steps=(0, 20, 40), plan=plan)
        results = [
            one.model_copy(update={"all_right": Curve.of([0.0, final / 2, final])})
            for one, final in zip(found.results, finals, strict=True)
        ]
        return found.model_copy(update={"results": results})

    return made


def row(text, label):
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_each_stands_beside_gdpo_the_best_first_and_ties_are_counted(minis, make):
    board = [make("grpo", 0.4), make("gdpo", 0.6), make("saw", 0.6, spread=8), make("papo", 0.8)]
    texts = minis.sections(board)
    told = texts["MathMini-v1 told apart"]
    assert row(told, "against `gdpo`, all right, 40 steps")[1:] == ["`papo`", "`grpo`", "1"]
    assert row(told, "against `gdpo`, integer, 20 steps")[1:] == ["`papo`", "`grpo`", "1"]
    values = texts["MathMini-v1 values"]
    assert [line.split("`")[1] for line in values.splitlines()[2:]][::3] == ["papo", "grpo"]
    assert row(values, "`papo`")[1:3] == ["10", "0.80 ±0.01"]
    assert row(values, "`papo`")[7] == "**+0.20 ±0.00**"
    assert row(values, "`gdpo`")[7:] == [""] * 5


def test_entries_of_other_plans_are_not_mixed_in_and_two_of_this_are_an_error(minis, make):
    other = PlanReference.of({"horizons": [40], "clusters": 10}, "test")
    board = [make("gdpo", 0.6), make("grpo", 0.4), make("grpo", 0.1, plan=other), make("saw", 0.1, plan=None)]
    assert set(minis.measured(board, MATH)) == {"gdpo", "grpo"}
    with pytest.raises(LookupError, match="2 entries of grpo"):
        minis.measured([*board, make("grpo", 0.5)], MATH)


def test_what_was_not_run_is_said(minis, make):
    texts = minis.sections([make("gdpo", 0.6), make("grpo", 0.4)])
    assert texts["CodingMini-v1 values"].startswith("No entries yet: `python -m gdpo_bench.run published-minis")
    assert minis.sections([make("grpo", 0.4)])["MathMini-v1 told apart"].startswith("No entries yet")
