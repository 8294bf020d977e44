"""The primary endpoint, and how early and by how many units a quantity was learned."""

import numpy as np
import pytest

from gdpo_bench import RewardSpec
from gdpo_bench.core.errors import DeclarationError
from gdpo_bench.core.measurements import all_right
from gdpo_bench.core.scoring import Scores
from gdpo_bench.leaderboard import Curve, EntryError, Seed, entry_text, parse_entry
from gdpo_bench.leaderboard.compare.board import compare
from gdpo_bench.leaderboard.compare.learning import curve_of, learning
from gdpo_bench.leaderboard.compare.pair import compare_pair
from gdpo_bench.leaderboard.files.all_right import completed, completed_from
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT
from gdpo_bench.leaderboard.files.store import Board
from gdpo_bench.leaderboard.show.table import render_markdown

SPECS = [RewardSpec("format", 0, 1, "binary"), RewardSpec("correct", -3, 3, right=2)]


def scores(raw, applicable=None, failed=None):
    raw = np.array(raw, float)
    masks = [np.zeros(raw.shape, bool) if mask is None else np.array(mask, bool) for mask in (applicable, failed)]
    return Scores(raw, raw, ~masks[0] if applicable is None else masks[0], masks[1])


def test_all_right_counts_replies_that_are_right_in_every_reward():
    assert all_right(scores([[1, 3], [1, 2], [1, 1.9], [0, 3]]), SPECS) == 0.5
    assert all_right(scores([[1, -3], [0, 3]]), SPECS) == 0  # half right in each, none in both


def test_what_does_not_apply_is_no_mistake_and_what_failed_does_not_count():
    assert all_right(scores([[1, -3], [0, -3]], applicable=[[1, 0], [1, 0]]), SPECS) == 0.5
    assert all_right(scores([[1, 0], [1, 3]], failed=[[0, 1], [0, 0]]), SPECS) == 1
    assert all_right(scores([[0, 0]], applicable=[[0, 0]]), SPECS) is None


def test_right_is_the_range_s_high_end_unless_the_declaration_says_otherwise():
    assert [spec.right_from for spec in SPECS] == [1, 2]
    for right in (0, 1.1, -1):
        with pytest.raises(DeclarationError, match="right must lie above low"):
            RewardSpec("format", 0, 1, right=right)


def test_it_follows_from_the_sidecar_and_changes_neither_text_nor_id(measured, tmp_path):
    one = measured()
    found = completed(one)
    vectors = one.sidecar.runs[0].evaluations[-1].scores
    both = (vectors.raw >= [1, 3]) | ~vectors.applicable
    expected = both[~vectors.failed.any(axis=1)].all(axis=1).mean()
    assert found.results[0].all_right.final == pytest.approx(expected)
    assert entry_text(found) == entry_text(one.entry)
    assert parse_entry(entry_text(found)) == one.entry
    board = Board(tmp_path)
    board.file(one.entry, one.sidecar)
    assert completed_from(one.entry, tmp_path) == found


def test_a_file_that_says_its_own_is_refused(measured):
    text = entry_text(measured().entry).replace('"applicable_share"', '"all_right": null, "applicable_share"', 1)
    with pytest.raises(EntryError):
        parse_entry(text)


def test_a_declaration_s_right_is_written_only_where_it_is_said(entry):
    assert '"right"' not in entry_text(entry())
    said = entry(specs=SPECS)
    assert '"right": 2.0' in entry_text(said)
    assert parse_entry(entry_text(said)).environment.rewards[1].right == 2


def test_tables_and_comparisons_lead_with_it_and_dominance_knows_rewards_only(measured):
    entries = [completed(measured(name, runs=6, luck=i)) for i, name in enumerate(("gdpo", "grpo"))]
    (found,) = compare(entries)
    assert [column.title for column in found.columns][:3] == [ALL_RIGHT, "format", "correct"]
    assert found.rows[0].cells[0].difference.n == 6
    assert "| normalizer | all right<br>share |" in render_markdown(entries)
    pair = compare_pair(*entries)
    assert [one.name for one in pair.rewards] == [ALL_RIGHT, "format", "correct"]


def with_curves(entry, *curves, seeds=None):
    seeds = seeds or [Seed(warm_start=i, rl=i) for i in range(len(curves))]
    found = entry(finals=[0.5] * len(curves), seeds=seeds)
    results = [
        one.model_copy(update={"rewards": one.rewards | {"format": Curve.of(curve)}})
        for one, curve in zip(found.results, curves, strict=True)
    ]
    return found.model_copy(update={"results": results})


def test_learned_is_the_middle_of_the_range_at_the_end_and_the_step_is_the_first_there(entry):
    found = learning(with_curves(entry, [0, 0.5, 0.9], [0, 0.1, 0.6], [0.9, 0.9, 0.4]), "format", (0, 1))
    assert (found.learned, found.n, found.step) == (2, 3, 15)  # at steps 10 and 20; the third lost it
    assert found.area.mean == pytest.approx(np.mean([1.4, 0.7, 2.2]) / 3)
    never = learning(with_curves(entry, [0, 0, 0.1]), "format", (0, 1))
    assert (never.learned, never.step) == (0, None)


def test_runs_of_a_warm_start_are_one_unit(entry):
    seeds = [Seed(warm_start=0, rl=0), Seed(warm_start=0, rl=1), Seed(warm_start=1, rl=0)]
    found = learning(with_curves(entry, [0, 0, 1], [0, 1, 0.2], [0, 1, 1], seeds=seeds), "format", (0, 1))
    assert (found.learned, found.n, found.step) == (2, 2, 10)


def test_tables_say_how_many_learned_it_when_and_the_area(entry):
    text = render_markdown([with_curves(entry, [0, 0.5, 0.9], [0, 0.1, 0.6])])
    assert "| `gdpo` | 2 of 2 @15 · 0.35 |" in text


def test_what_was_not_measured_has_no_curve(entry):
    assert curve_of(entry().results[0], "nothing") is None
    assert learning(entry(), ALL_RIGHT, (0, 1)) is None
