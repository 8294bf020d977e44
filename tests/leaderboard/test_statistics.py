import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.compare.intervals import BOOTSTRAP_FROM, holm, mean_interval, resample
from gdpo_bench.leaderboard.compare.statistics import (
    PairedDifference,
    areas,
    estimate,
    finals,
    judge,
    paired_difference,
    pareto,
)


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
    once = estimate({Seed(warm_start=i, rl=0): np.mean(row) for i, row in enumerate(rows)})
    assert (found.mean, found.half_width) == (pytest.approx(once.mean), pytest.approx(once.half_width, abs=1e-9))
    assert (found.n, found.unit, found.runs) == (len(rows), "warm start", 3 * len(rows))


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


def test_the_p_value_is_students():
    first, second = [0.3, 0.9, 0.5, 0.6], [0.2, 0.5, 0.6, 0.3]
    found = paired_difference(rl(*first), rl(*second))
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue)


@pytest.mark.parametrize("n", [3, BOOTSTRAP_FROM, 20])
def test_interval_and_p_value_agree_on_zero(n):
    rng = np.random.default_rng(n)
    clear = set()
    for shift in np.linspace(0, 1, 60):
        found = paired_difference(rl(*rng.normal(shift, 1, n)), rl(*np.zeros(n)))
        assert found.excludes_zero == (found.p <= 0.05)
        clear.add(found.excludes_zero)
    assert clear == {True, False}


def test_from_ten_clusters_on_the_bootstrap_answers():
    values = np.random.default_rng(0).exponential(size=BOOTSTRAP_FROM)
    students = stats.t.ppf(0.975, BOOTSTRAP_FROM - 1) * stats.sem(values)
    assert estimate(rl(*values)).half_width != pytest.approx(students, rel=1e-3)
    assert estimate(rl(*values[1:])).half_width == pytest.approx(
        stats.t.ppf(0.975, BOOTSTRAP_FROM - 2) * stats.sem(values[1:])
    )


@pytest.mark.parametrize("m", [1, 2, 3])
def test_on_normal_data_the_bootstrap_comes_near_students_t(m):
    values = np.random.default_rng(m).normal(size=(40, m))
    half_width, _ = mean_interval(values.ravel(), (m,) * 40, 0.95)
    assert half_width == pytest.approx(stats.t.ppf(0.975, 39) * stats.sem(values.mean(axis=1)), rel=0.08)


def test_the_same_data_give_the_same_interval():
    values = np.random.default_rng(0).normal(size=12)
    first = mean_interval(values, (1,) * 12, 0.95)
    resample.cache_clear()
    assert mean_interval(values, (1,) * 12, 0.95) == first


def test_draws_take_clusters_and_then_runs_of_those_clusters():
    layout = (1, 3, 2)
    draws = resample(layout, 500)
    owner = np.repeat([0, 1, 2], layout)
    for place, drawn in enumerate(draws.runs):
        inside = place < np.array(layout)[draws.clusters]
        assert (owner[drawn[inside]] == draws.clusters[inside]).all()
        assert (drawn[~inside] == 6).all()
    assert set(draws.runs.ravel()) == set(range(7))
    values = np.arange(6.0)
    expected = [np.mean([values[run] for run in draws.runs[:, 1, i] if run < 6]) for i in range(20)]
    assert draws.cluster_means(values)[1, :20] == pytest.approx(expected)


def test_where_most_clusters_agree_students_t_answers():
    values = np.array([0.0] * 9 + [1.0])
    half_width, p = mean_interval(values, (1,) * 10, 0.95)
    assert half_width == pytest.approx(stats.t.ppf(0.975, 9) * stats.sem(values))
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_holm_is_the_textbooks():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_never_makes_surer_than_one_test_and_keeps_the_order(p):
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert all(a <= min(1, b * len(p)) + 1e-12 for a, b in zip(adjusted, p, strict=True))
    assert [adjusted[i] for i in np.argsort(p, kind="stable")] == sorted(adjusted)


@pytest.mark.parametrize(
    ("first", "adjusted", "verdict"),
    [
        ((0.9, 0.8, 0.7), 0.04, "better"),
        ((-0.9, -0.8, -0.7), 0.04, "worse"),
        ((0.9, 0.8, 0.7), 0.06, "undecided"),
        ((0.0, 0.0, 0.0), 1.0, "equal"),
        ((0.9,), None, "undecided"),
    ],
)
def test_a_verdict_says_what_the_corrected_p_value_supports(first, adjusted, verdict):
    difference = paired_difference(rl(*first), rl(*(0.0 for _ in first)))
    assert isinstance(difference, PairedDifference)
    assert judge(difference, adjusted) == verdict


@pytest.mark.parametrize(
    ("verdicts", "relation"),
    [
        (("better", "equal"), "dominates"),
        (("better", "better"), "dominates"),
        (("better", "undecided"), "undecided"),
        (("worse", "equal"), "is dominated"),
        (("better", "worse", "undecided"), "trade-off"),
        (("equal", "equal"), "equal"),
        (("undecided",), "undecided"),
        ((), "undecided"),
    ],
)
def test_dominance_is_claimed_only_where_no_reward_may_be_lower(verdicts, relation):
    assert pareto(verdicts) == relation
