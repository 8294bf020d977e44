"""Plans: what tuning seeds choose, what test seeds measure, and both horizons from one curve."""

import re
from pathlib import Path

import pytest

from gdpo_bench.core.errors import DataError
from gdpo_bench.leaderboard import Curve, EntryError, Seed, entry_text, make_entry, parse_entry
from gdpo_bench.leaderboard.compare.board import compare
from gdpo_bench.leaderboard.compare.tuning import at_horizon, tuned_settings
from gdpo_bench.leaderboard.files.plans import check_extension
from gdpo_bench.leaderboard.files.schema import PlanReference
from gdpo_bench.leaderboard.files.store import Board, superseding
from gdpo_bench.leaderboard.show.page import document, render_page, render_site
from gdpo_bench.leaderboard.show.page.looks import look_up
from gdpo_bench.leaderboard.show.page.views import groups
from gdpo_bench.leaderboard.show.plots import plot_tuning
from gdpo_bench.leaderboard.show.showable import unshowable
from gdpo_bench.leaderboard.show.table import render_markdown

DECLARED = {
    "tuning": {"learning_rates": [1e-4, 1e-3], "options": {}, "seeds": ["8:8", "9:9"], "target": "format"},
    "horizons": [10, 20],
    "clusters": 6,
}
KEPT = ("track", "environment", "normalizer", "policy", "training", "results", "provenance")


@pytest.fixture
def planned(entry):
    def make(name, rate, finals, *, tuning=False, declared=DECLARED, first=0):
        seeds = [Seed(warm_start=first + i + 100 * tuning, rl=i) for i in range(len(finals))]
        found = entry(name, finals, seeds=seeds)
        role = "tuning" if tuning else "test"
        changed = {"training": found.training | {"learning_rate": rate}, "plan": PlanReference.of(declared, role)}
        return make_entry(**{part: getattr(found, part) for part in KEPT} | changed)

    return make


@pytest.fixture
def trials(planned):
    """gdpo does best at 1e-3 on the tuning seeds, and at 1e-4 on the test seeds."""
    return [
        planned("gdpo", 1e-4, [0.7, 0.72], tuning=True),
        planned("gdpo", 1e-3, [0.8, 0.82], tuning=True),
        planned("gdpo", 1e-4, [0.95] * 6),
        planned("gdpo", 1e-3, [0.6, 0.62, 0.61, 0.6, 0.63, 0.6]),
        planned("grpo", 1e-4, [0.5, 0.5], tuning=True),
        planned("grpo", 1e-3, [0.4, 0.4], tuning=True),
        planned("grpo", 1e-4, [0.4] * 6),
        planned("grpo", 1e-3, [0.9] * 6),
    ]


def test_the_tuning_seeds_choose_whatever_the_test_seeds_say(trials):
    (setting,) = tuned_settings(trials)
    chosen = {name: [one.learning_rate for one in own if one.chosen] for name, own in setting.normalizers.items()}
    assert chosen == {"gdpo": [1e-3], "grpo": [1e-4]}
    of_grpo = [outcome.estimate.mean for one, outcome in setting.outcomes if one.label == "grpo"]
    assert of_grpo == pytest.approx([0.4, 0.9])


def test_tables_hold_every_learning_rate_both_horizons_and_the_tuned_rows_and_no_tuning_seed(trials):
    found = compare(trials)
    shown = [(one.heading, one.first.results[0].steps[-1], [row.label for row in one.rows]) for one in found]
    plain = ["gdpo", "grpo"]
    tuned = ["gdpo at 0.001", "grpo at 0.0001"]
    assert sorted(shown) == sorted(
        [(f"mini:learning_rate={rate}", step, plain) for rate in (0.0001, 0.001) for step in (10, 20)]
        + [("mini, tuned on format", step, tuned) for step in (10, 20)]
    )
    assert {row.entry.plan.role for one in found for row in one.rows} == {"test"}
    last = found[-1]
    assert last.baseline == "grpo at 0.0001"
    assert last.rows[0].cells[0].verdict == "better"
    text = render_markdown(trials)
    assert "| `gdpo` | 0.95 ±0.00 (0.71) | 0.61 ±0.01 (0.81) ← |" in text
    assert "mean over 2 tuning seeds, which chose ←" in text


def test_plans_that_tuned_alike_stand_in_one_table_and_others_apart(trials, planned):
    def plan(name, **tuning):
        declared = DECLARED | {"tuning": DECLARED["tuning"] | {"tested": "chosen"} | tuning, "clusters": 7}
        chosen, other = ([0.8, 0.82], [0.7, 0.72])
        return [
            planned(name, 1e-4, other, tuning=True, declared=declared),
            planned(name, 1e-3, chosen, tuning=True, declared=declared),
            planned(name, 1e-3, [0.7] * 6, declared=declared),
        ]

    entries = [*trials, *plan("rloo"), *plan("gdpo"), *plan("opo", seeds=["7:7", "8:8"])]
    found = [[row.label for row in one.rows] for one in compare(entries) if one.tuned]
    together = ["gdpo at 0.001 #1", "gdpo at 0.001 #2", "grpo at 0.0001", "rloo at 0.001"]
    assert sorted(found) == [together, together, ["opo at 0.001"], ["opo at 0.001"]]


def test_gdpo_stands_for_all_that_are_level_with_it_under_the_name_that_it_has_when_tuned(planned):
    found = [
        planned(name, rate, [level] * (2 if tuning else 6), tuning=tuning)
        for name, levels in (("dara", (0.7, 0.9)), ("gdpo", (0.7, 0.9)), ("grpo", (0.1, 0.2)))
        for rate, level in zip((1e-4, 1e-3), levels, strict=True)
        for tuning in (True, False)
    ]

    def shown(entries):
        return re.search(r'<table class="findings">.*?</table>', render_page(entries), re.DOTALL)[0]

    assert "gdpo at 0.001</span>" in shown(found)
    assert "so does dara<" in shown(found)  # its rate says nothing that the table does not
    other = DECLARED | {"clusters": 7}
    again = [
        planned("dara", rate, [level] * (2 if tuning else 6), tuning=tuning, declared=other)
        for rate, level in ((1e-4, 0.9), (1e-3, 0.7))
        for tuning in (True, False)
    ]
    assert "so do dara at 0.0001, dara at 0.001<" in shown([*found, *again])


def test_the_fullest_setting_stands_first_and_of_equal_ones_the_longest_and_tuned(trials, planned):
    def first(entries):
        (group,) = groups(entries, look_up(entries))
        found = group.panels[0].comparison
        return len(found.rows), found.first.results[0].steps[-1], found.tuned

    assert first(trials) == (2, 20, True)
    assert first([*trials, planned("rloo", 1e-4, [0.5] * 6)]) == (3, 20, False)


def test_entries_of_tuning_seeds_are_listed_by_a_large_board_too_and_can_be_shown_alone(trials, monkeypatch):
    tuning = [one for one in trials if one.plan.role == "tuning"]
    assert unshowable({Path(one.id): one for one in tuning}) == []
    monkeypatch.setattr(document, "_ONE_FILE", 1)
    files = render_site(trials)
    index = files["leaderboard-details/entries.html"]
    assert all(one.id in index for one in trials)
    cards = "".join(text for name, text in files.items() if name != "leaderboard-details/entries.html")
    assert all(f'id="e-{one.id}"' in cards for one in tuning)


def test_without_all_trials_nothing_is_chosen(trials):
    without = [one for one in trials if not (one.normalizer.name == "gdpo" and one.plan.role == "tuning")]
    (setting,) = tuned_settings(without)
    assert list(setting.normalizers) == ["grpo"]
    assert tuned_settings(trials[:3]) == []


def test_a_plan_that_tests_what_was_chosen_has_no_curve_over_learning_rates(planned, tmp_path):
    declared = DECLARED | {"tuning": DECLARED["tuning"] | {"tested": "chosen"}}
    tuned = [
        planned("gdpo", 1e-4, [0.7, 0.72], tuning=True, declared=declared),
        planned("gdpo", 1e-3, [0.8, 0.82], tuning=True, declared=declared),
    ]
    entries = [*tuned, planned("gdpo", 1e-3, [0.61] * 6, declared=declared)]
    (setting,) = tuned_settings(entries)
    assert [(one.chosen, one.outcome is not None) for one in setting.normalizers["gdpo"]] == [
        (False, False),
        (True, True),
    ]
    assert "| `gdpo` | (0.71) | 0.61 ±0.00 (0.81) ← |" in render_markdown(entries)
    assert "over learning rates" not in render_page(entries)
    with pytest.raises(DataError, match="all of its trials tested"):
        plot_tuning(entries, tmp_path / "tuning.png")
    assert tuned_settings([*tuned, planned("gdpo", 1e-4, [0.9] * 6, declared=declared)]) == []  # not the chosen one


def test_an_earlier_horizon_is_the_same_curve_cut_there(planned):
    one = planned("gdpo", 1e-3, [0.9, 0.8])
    results = [
        result.model_copy(update={"rewards": result.rewards | {"format": Curve.of([0.0, 0.3, 0.9])}})
        for result in one.results
    ]
    cut = at_horizon(one.model_copy(update={"results": results}), 10)
    assert [(result.steps, result.rewards["format"].final) for result in cut.results] == [([0, 10], 0.3)] * 2
    assert at_horizon(one, 20) is None  # that is the end
    assert at_horizon(one, 5) is None  # not named


def test_the_plan_is_part_of_the_id_and_its_hash_follows_from_what_it_declares(planned):
    one = planned("gdpo", 1e-3, [0.9])
    other = planned("gdpo", 1e-3, [0.9], declared=DECLARED | {"clusters": 7})
    assert one.id != other.id
    assert parse_entry(entry_text(one)) == one
    with pytest.raises(ValueError, match=r"plan\.hash does not follow"):
        PlanReference(hash="0" * 16, role="test", declared=DECLARED)


def test_a_plan_that_goes_on_after_its_results_must_say_so(planned, tmp_path):
    board = Board(tmp_path)
    first = planned("gdpo", 1e-3, [0.9] * 5).model_copy(update={"sidecar": None})
    board.entries[first.id] = first
    more = DECLARED | {"clusters": 10}
    with pytest.raises(EntryError, match=f"extends: {first.plan.hash}"):
        check_extension(planned("gdpo", 1e-3, [0.9] * 5, declared=more, first=5), board)
    check_extension(planned("gdpo", 1e-3, [0.9] * 5, declared=more | {"extends": first.plan.hash}, first=5), board)
    several = more | {"extends": ["0" * 16, first.plan.hash]}
    check_extension(planned("gdpo", 1e-3, [0.9] * 5, declared=several, first=5), board)
    check_extension(planned("gdpo", 1e-4, [0.9] * 5, declared=more, first=5), board)  # another configuration
    corrected = superseding(planned("gdpo", 1e-3, [0.8] * 5, declared=more), board)
    check_extension(corrected, board)


def test_a_board_with_plans_can_be_shown_and_drawn(trials, tmp_path):
    page = render_page(trials)
    assert "tuned on format" in page
    (chart,) = re.findall(r'<svg[^>]*aria-label="format over learning rates[^"]*"', page)
    assert "gdpo at 0.0001: 0.95 ±0.00; gdpo at 0.001: 0.61 ±0.01, chosen" in chart
    assert "over learning rates" not in render_page(trials[:3])  # not all trials of any normalizer
    plot_tuning(trials, tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").stat().st_size > 10_000
