import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.statistics import areas, dominates, estimate, finals, paired_difference


def rl(*values, warm_start=0):
    return {Seed(warm_start=warm_start, rl=i): value for i, value in enumerate(values)}


def crossed(rows):
    """Row i, column j → warm start i, RL seed j."""
    return {Seed(warm_start=i, rl=j): value for i, row in enumerate(rows) for j, value in enumerate(row)}


VALUES = st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=8)


def test_the_interval_is_students():
    found = estimate(rl(1.0, 2.0, 3.0))
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.302653 * 1 / 3**0.5, rel=1e-6)  # t(.975, 2 degrees), by the table
    assert (found.n, found.unit) == (3, "RL seed")


@given(values=VALUES, confidence=st.floats(0.5, 0.99))
def test_the_interval_is_scipys(values, confidence):
    assume(np.ptp(values) > 1e-6)
    found = estimate(rl(*values), confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean - found.half_width == pytest.approx(low, abs=1e-9)
    assert found.mean + found.half_width == pytest.approx(high, abs=1e-9)


@given(values=VALUES, shift=st.floats(-10, 10))
def test_a_difference_to_oneself_shifted_is_the_shift_in_every_unit(values, shift):
    shift = round(shift, 3)
    found = paired_difference(rl(*(v + shift for v in values)), rl(*values))
    assert found.mean == pytest.approx(shift, abs=1e-9)
    assert found.half_width == pytest.approx(0, abs=1e-9)
    assert (found.wins, found.losses) == ((len(values), 0) if shift > 0 else (0, len(values)) if shift < 0 else (0, 0))


@given(values=VALUES, others=VALUES)
def test_swapping_the_sides_only_changes_the_sign(values, others):
    there, back = paired_difference(rl(*values), rl(*others)), paired_difference(rl(*others), rl(*values))
    assert there.mean == pytest.approx(-back.mean, abs=1e-12)
    assert there.half_width == pytest.approx(back.half_width, abs=1e-12)
    assert (there.wins, there.losses) == (back.losses, back.wins)


@given(rows=st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=2, max_size=6))
def test_with_several_warm_starts_they_are_the_unit(rows):
    found = estimate(crossed(rows))
    assert found == estimate({Seed(warm_start=i, rl=0): np.mean(row) for i, row in enumerate(rows)})
    assert (found.n, found.unit) == (len(rows), "warm start")


def test_repeating_rl_seeds_does_not_make_warm_starts_look_surer():
    once = estimate(crossed([[0.1], [0.5], [0.9]]))
    often = estimate(crossed([[0.1] * 50, [0.5] * 50, [0.9] * 50]))
    assert often.half_width == pytest.approx(once.half_width)


def test_seeds_of_a_given_policy_are_units_of_their_own():
    found = estimate(rl(0.1, 0.2, 0.4, warm_start=None))
    assert (found.n, found.unit) == (3, "RL seed")


def test_one_run_has_no_interval():
    found = paired_difference(rl(0.9), rl(0.4))
    assert (found.mean, found.half_width, found.n) == (0.5, None, 1)
    assert not found.excludes_zero
    alone = estimate({None: 0.5})
    assert (alone.half_width, alone.unit) == (None, "single evaluation")


def test_only_shared_seeds_are_compared():
    found = paired_difference(rl(0.9, 0.8, 5.0), rl(0.4, 0.3))
    assert (found.n, found.mean) == (2, pytest.approx(0.5))
    assert paired_difference(rl(0.9, warm_start=1), rl(0.4, warm_start=2)) is None


def test_constant_differences_have_a_width_of_zero_and_equal_runs_no_difference():
    always = paired_difference(rl(1.0, 1.0, 1.0), rl(0.25, 0.25, 0.25))
    assert (always.mean, always.half_width, always.excludes_zero) == (0.75, 0.0, True)
    never = paired_difference(rl(0.1, 0.2), rl(0.1, 0.2))
    assert (never.mean, never.half_width, never.excludes_zero) == (0.0, 0.0, False)


def test_rounding_is_no_difference():
    found = paired_difference(rl(0.1 + 0.2, 0.3), rl(0.3, 0.1 + 0.2))
    assert (found.mean, found.wins, found.losses, found.excludes_zero) == (0.0, 0, 0, False)
    found = paired_difference(rl(0.1 + 0.2, 0.1 + 0.2), rl(0.3, 0.3))
    assert not found.excludes_zero


def test_pairing_finds_what_unpaired_intervals_hide():
    worse, better = rl(0.1, 0.5, 0.9), rl(0.15, 0.56, 0.95)
    assert paired_difference(better, worse).excludes_zero
    assert estimate(better).half_width > 0.5


def test_finals_and_areas_read_an_entry_by_seed(entry):
    found = entry(finals=(0.5, 1.0), steps=(0, 10, 20))
    assert list(finals(found, "format").values()) == [0.5, 1.0]
    assert list(areas(found, "format").values()) == pytest.approx([0.3, 0.6])


def test_an_entry_dominates_where_it_is_nowhere_lower_and_surely_higher_somewhere(entry):
    high, low = entry(finals=(0.9, 0.8, 0.85)), entry("grpo", finals=(0.4, 0.35, 0.38))
    assert dominates(high, low)
    assert not dominates(low, high)
    assert not dominates(high, high)


def test_a_higher_mean_within_the_noise_does_not_dominate(entry):
    assert not dominates(entry(finals=(0.9, 0.1, 0.8)), entry("grpo", finals=(0.1, 0.9, 0.7)))
    assert not dominates(entry(finals=(0.9,)), entry("grpo", finals=(0.1,)))
