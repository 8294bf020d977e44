import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from gdpo_bench.core.intervals import Interval, clopper_pearson, newcombe, wilson
from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.compare.sign_flips import ALL_PATTERNS, LEAST_UNITS, corrected, sign_flip_p, sign_patterns
from gdpo_bench.leaderboard.compare.statistics import (
    PairedDifference,
    areas,
    estimate,
    finals,
    judge,
    paired_difference,
    pareto,
    succeed_or_fail,
)


def rl(*values, warm_start=0):
    return {Seed(warm_start=warm_start, rl=i): value for i, value in enumerate(values)}


def crossed(rows):
    """Row i, column j → warm start i, RL seed j."""
    return {Seed(warm_start=i, rl=j): value for i, row in enumerate(rows) for j, value in enumerate(row)}


def half(found):
    """Half of the width of a mean's interval, which is symmetric unless it was cut."""
    return None if found.interval is None else (found.interval.high - found.interval.low) / 2


VALUES = st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=8)


def test_the_interval_is_students():
    found = estimate(rl(1.0, 2.0, 3.0))
    assert found.mean == 2.0
    assert half(found) == pytest.approx(4.302653 * 1 / 3**0.5, rel=1e-6)  # t(.975, 2 degrees), by the table
    assert (found.n, found.unit) == (3, "RL seed")


@given(values=VALUES, confidence=st.floats(0.5, 0.99))
def test_the_interval_is_scipys(values, confidence):
    assume(np.ptp(values) > 1e-6)
    found = estimate(rl(*values), confidence=confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.interval.low == pytest.approx(low, abs=1e-9)
    assert found.interval.high == pytest.approx(high, abs=1e-9)


@given(values=VALUES, shift=st.floats(-10, 10))
def test_a_difference_to_oneself_shifted_is_the_shift_in_every_unit(values, shift):
    shift = round(shift, 3)
    found = paired_difference(rl(*(v + shift for v in values)), rl(*values))
    assert found.mean == pytest.approx(shift, abs=1e-9)
    assert half(found) == pytest.approx(0, abs=1e-9)
    assert (found.wins, found.losses) == ((len(values), 0) if shift > 0 else (0, len(values)) if shift < 0 else (0, 0))


@given(values=VALUES, others=VALUES)
def test_swapping_the_sides_only_changes_the_sign(values, others):
    there, back = paired_difference(rl(*values), rl(*others)), paired_difference(rl(*others), rl(*values))
    assert there.mean == pytest.approx(-back.mean, abs=1e-12)
    assert half(there) == pytest.approx(half(back), abs=1e-12)
    assert (there.wins, there.losses) == (back.losses, back.wins)


@given(rows=st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=2, max_size=6))
def test_with_several_warm_starts_they_are_the_unit(rows):
    found = estimate(crossed(rows))
    once = estimate({Seed(warm_start=i, rl=0): np.mean(row) for i, row in enumerate(rows)})
    assert (found.mean, half(found)) == (pytest.approx(once.mean), pytest.approx(half(once), abs=1e-9))
    assert (found.n, found.unit, found.runs) == (len(rows), "warm start", 3 * len(rows))


def test_repeating_rl_seeds_does_not_make_warm_starts_look_surer():
    once = estimate(crossed([[0.1], [0.5], [0.9]]))
    often = estimate(crossed([[0.1] * 50, [0.5] * 50, [0.9] * 50]))
    assert half(often) == pytest.approx(half(once))


def test_seeds_of_a_given_policy_are_units_of_their_own():
    found = estimate(rl(0.1, 0.2, 0.4, warm_start=None))
    assert (found.n, found.unit) == (3, "RL seed")


def test_one_run_has_no_interval():
    found = paired_difference(rl(0.9), rl(0.4))
    assert (found.mean, half(found), found.n) == (0.5, None, 1)
    assert not found.excludes_zero
    alone = estimate({None: 0.5})
    assert (half(alone), alone.unit) == (None, "single evaluation")


def test_only_shared_seeds_are_compared():
    found = paired_difference(rl(0.9, 0.8, 5.0), rl(0.4, 0.3))
    assert (found.n, found.mean) == (2, pytest.approx(0.5))
    assert paired_difference(rl(0.9, warm_start=1), rl(0.4, warm_start=2)) is None


def test_constant_differences_have_a_width_of_zero_and_equal_runs_no_difference():
    always = paired_difference(rl(1.0, 1.0, 1.0), rl(0.25, 0.25, 0.25))
    assert (always.mean, half(always), always.excludes_zero) == (0.75, 0.0, True)
    never = paired_difference(rl(0.1, 0.2), rl(0.1, 0.2))
    assert (never.mean, half(never), never.excludes_zero) == (0.0, 0.0, False)


def test_rounding_is_no_difference():
    found = paired_difference(rl(0.1 + 0.2, 0.3), rl(0.3, 0.1 + 0.2))
    assert (found.mean, found.wins, found.losses, found.excludes_zero) == (0.0, 0, 0, False)
    found = paired_difference(rl(0.1 + 0.2, 0.1 + 0.2), rl(0.3, 0.3))
    assert not found.excludes_zero


def test_pairing_finds_what_unpaired_intervals_hide():
    worse, better = rl(0.1, 0.5, 0.9), rl(0.15, 0.56, 0.95)
    assert paired_difference(better, worse).excludes_zero
    assert half(estimate(better)) > 0.5


def test_finals_and_areas_read_an_entry_by_seed(entry):
    found = entry(finals=(0.5, 1.0), steps=(0, 10, 20))
    assert list(finals(found, "format").values()) == [0.5, 1.0]
    assert list(areas(found, "format").values()) == pytest.approx([0.3, 0.6])


def test_an_interval_is_cut_to_what_a_mean_can_be():
    assert estimate(rl(0.9, 0.95, 0.7), (0, 1)).interval.high == 1
    assert estimate(rl(0.1, 0.05, 0.3), (0, 1)).interval.low == 0
    assert paired_difference(rl(0.95, 1.0), rl(0.0, 0.4), (0, 1)).interval.high == 1
    assert paired_difference(rl(0.0, 0.4), rl(0.95, 1.0), (0, 1)).interval.low == -1
    assert estimate(rl(2.5, -0.9), (-3, 3)).interval == Interval(-3, 3)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 7), (9, 10), (10, 10), (13, 40)])
def test_intervals_of_a_share_are_scipys(k, n):
    exact, score = (stats.binomtest(k, n).proportion_ci(method=method) for method in ("exact", "wilson"))
    found = clopper_pearson(k, n)
    assert (found.low, found.high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    found = wilson(k, n)
    assert (found.low, found.high) == (pytest.approx(score.low, abs=1e-12), pytest.approx(score.high))


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Newcombe (1998), method 10
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
    ],
)
def test_newcombes_interval_is_that_of_the_paper(table, low, high):
    found = newcombe(*table)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(counts=st.tuples(*[st.integers(0, 12)] * 4).filter(any))
def test_newcombes_interval_holds_the_difference_and_turns_with_the_sides(counts):
    both, first, second, neither = counts
    there, back = newcombe(both, first, second, neither), newcombe(both, second, first, neither)
    difference = (first - second) / sum(counts)
    assert there.low - 1e-9 <= difference <= there.high + 1e-9
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))


def test_only_a_gap_of_the_middle_third_with_both_ends_filled_is_success_or_failure():
    assert succeed_or_fail([0.0, 0.9, 0.3, 1.0], (0, 1))
    assert succeed_or_fail([-3.0, 2.0], (-3, 3))
    assert not succeed_or_fail([0.0, 0.9, 0.5], (0, 1))
    assert not succeed_or_fail([0.0, 0.1, 0.3], (0, 1))
    assert not succeed_or_fail([0.7, 0.9, 0.8], (0, 1))
    assert not succeed_or_fail([0.0, 1.0], (-np.inf, np.inf))


def test_success_and_failure_are_counted_and_their_mean_has_no_interval():
    found = estimate(rl(0.9, 0.8, 0.0, 0.95), (0, 1))
    assert found.interval is None
    assert (found.count.k, found.count.n, found.count.interval) == (3, 4, clopper_pearson(3, 4))
    assert estimate(rl(0.9, 0.8, 0.5, 0.95), (0, 1)).count is None


def test_a_difference_counts_where_both_sides_together_succeed_or_fail():
    first, second = [0.9, 0.8, 0.95, 0.9, 0.85, 0.9], [0.0, 0.9, 0.1, 0.0, 0.0, 0.0]
    found = paired_difference(rl(*first), rl(*second), (0, 1))
    assert (found.count.k, found.wins, found.losses, found.interval) == (5, 5, 0, None)
    assert found.count.interval == newcombe(1, 5, 0, 0)
    assert found.p == pytest.approx(stats.binomtest(5, 5).pvalue)  # McNemar's exact test
    graded = paired_difference(rl(*first), rl(*[0.5, *second[1:]]), (0, 1))
    assert graded.count is None
    assert graded.interval is not None


@given(rows=st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.9, 1.0]), st.sampled_from([0.0, 0.9])), min_size=6))
def test_the_p_value_of_a_count_is_mcnemars(rows):
    found = paired_difference(rl(*(a for a, _ in rows)), rl(*(b for _, b in rows)), (0, 1))
    if found.count and len(rows) <= ALL_PATTERNS:
        discordant = found.wins + found.losses
        expected = stats.binomtest(found.wins, discordant).pvalue if discordant else 1.0
        assert found.p == pytest.approx(expected)


@given(values=st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=9))
def test_the_p_value_is_that_of_all_flips(values):
    expected = stats.permutation_test(
        (values,), lambda x, axis: np.sum(x, axis=axis), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(values) == pytest.approx(expected)


def test_the_p_value_ignores_scale_and_sign_and_drawn_patterns_come_near_all():
    values = np.random.default_rng(1).normal(0.5, 1, ALL_PATTERNS)
    assert sign_flip_p(values) == sign_flip_p(-1e-3 * values)
    more = np.append(values, 0.0)  # one unit more that says nothing
    assert sign_flip_p(more) == pytest.approx(sign_flip_p(values), abs=0.01)


def test_fewer_than_six_units_reach_no_significance():
    assert sign_flip_p([1.0] * LEAST_UNITS) <= 0.05 < sign_flip_p([1.0] * (LEAST_UNITS - 1))
    assert sign_flip_p([1.0]) is None


def test_patterns_are_all_once_and_the_first_is_what_was_seen():
    patterns = sign_patterns(6)
    assert len(np.unique(patterns, axis=0)) == len(patterns) == 2**5
    assert (patterns[0] == 1).all()
    assert set(np.unique(patterns)) == {-1, 1}
    assert (sign_patterns(20)[0] == 1).all()


def named(values):
    return dict(enumerate(values))


@given(rows=st.lists(st.lists(st.floats(-1, 1, width=16), min_size=8, max_size=8), min_size=1, max_size=5))
def test_correction_never_makes_surer_than_one_test(rows):
    for one, p in zip(rows, corrected([named(row) for row in rows]), strict=True):
        assert sign_flip_p(one) - 1e-12 <= p <= 1


def test_a_family_of_one_is_the_test_and_the_order_of_a_family_is_nothing():
    rng = np.random.default_rng(3)
    rows = [named(rng.normal(shift, 1, 9)) for shift in (0, 0.5, 1, 2)]
    assert corrected(rows[:1]) == [pytest.approx(sign_flip_p(list(rows[0].values())))]
    assert corrected(rows[::-1]) == corrected(rows)[::-1]
    assert corrected([]) == []


def test_what_is_correlated_costs_nothing_and_what_is_missing_or_hopeless_does_not_count():
    clear = named([0.7, 0.9, 0.8, 0.75, 0.8, 0.9, 0.8])
    (alone,) = corrected([clear])
    assert corrected([clear] * 9) == [alone] * 9
    few = named([0.9, 0.9, 0.9, 0.9])
    assert corrected([clear, None, few, named([0.0] * 7)]) == [alone, None, sign_flip_p([0.9] * 4), 1.0]


def test_correction_is_step_down():
    # Beside what is clear already, the second has only itself to beat.
    rng = np.random.default_rng(0)
    second = named(rng.normal(0.9, 1, 10))
    clear = named(rng.normal(9, 1, 10))
    assert corrected([clear, second])[1] == pytest.approx(corrected([second])[0])


@pytest.mark.parametrize(
    ("first", "corrected_p", "verdict"),
    [
        ((0.9, 0.8, 0.7), 0.04, "better"),
        ((-0.9, -0.8, -0.7), 0.04, "worse"),
        ((0.9, 0.8, 0.7), 0.06, "undecided"),
        ((0.0, 0.0, 0.0), 1.0, "equal"),
        ((0.9,), None, "undecided"),
    ],
)
def test_a_verdict_says_what_the_corrected_p_value_supports(first, corrected_p, verdict):
    difference = paired_difference(rl(*first), rl(*(0.0 for _ in first)))
    assert isinstance(difference, PairedDifference)
    assert judge(difference, corrected_p) == verdict


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
