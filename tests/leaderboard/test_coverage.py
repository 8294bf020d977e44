"""How often intervals cover the truth, how often marks err, and what they find, by simulation of warm starts.

`python tests/leaderboard/test_coverage.py` prints the tables of `docs/statistics.md`.
"""

import numpy as np
import pytest

from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.compare.pooled import Sample, interquartile_mean, weighted_mean, with_spread
from gdpo_bench.leaderboard.compare.sign_flips import corrected
from gdpo_bench.leaderboard.compare.statistics import estimate, judge, paired_difference

UNITS = (5, 6, 8, 10, 14, 20)
UNIT = (0.0, 1.0)
ROWS = 14
"""Rows of a table that are compared with one baseline, as many as there are normalizers."""


def graded(rng, size, shift=0.0, centre=0.6):
    """Means of units in [0, 1] that share nothing; `size` ends with the number of units."""
    return np.clip(rng.normal(centre + shift, 0.12, size), 0, 1)


def skewed(rng, size, shift=0.0):
    """Most near the top, some far below."""
    return np.clip(0.95 + shift - rng.exponential(0.12, size), 0, 1)


def learned_or_lost(rng, size, shift=0.0, share=0.7):
    """Learned with some probability, else lost."""
    learned = rng.random(size) < share + shift
    return np.clip(np.where(learned, rng.normal(0.9, 0.03, size), rng.normal(0.02, 0.02, size)), 0, 1)


OUTCOMES = {"graded": graded, "skewed": skewed, "learned or lost": learned_or_lost}


def by_seed(values, runs=1):
    """(units,) or (units, runs) → what an entry holds."""
    rows = np.reshape(values, (-1, runs))
    return {Seed(warm_start=i, rl=j): float(x) for i, row in enumerate(rows) for j, x in enumerate(row)}


def truth_of(outcome):
    """The mean over warm starts without end, and the share of them that ends in the upper third."""
    values = OUTCOMES[outcome](np.random.default_rng(0), 400_000)
    return float(values.mean()), float((values >= 2 / 3).mean())


def coverage(outcome, n, experiments=2000):
    """How often a mean's interval holds its mean, and a count's interval its probability; NaN where there is none."""
    rng = np.random.default_rng([n, len(outcome)])
    mean, share = truth_of(outcome)
    found = [estimate(by_seed(OUTCOMES[outcome](rng, n)), UNIT) for _ in range(experiments)]
    of_means = [mean in one.interval for one in found if one.interval]
    of_counts = [share in one.count.interval for one in found if one.count]
    return tuple(float(np.mean(hits)) if len(hits) > 50 else np.nan for hits in (of_means, of_counts))


def mean_where_nine_of_ten_learn(n, experiments=2000):
    """How often Student's interval holds the mean of outcomes that succeed nine times of ten: why k of n is shown."""
    rng = np.random.default_rng(n)
    mean = float(learned_or_lost(rng, 400_000, share=0.9).mean())
    found = [estimate(by_seed(learned_or_lost(rng, n, share=0.9))).interval for _ in range(experiments)]
    return float(np.mean([mean in interval for interval in found]))


def difference_coverage(outcome, n, shift=-0.2, experiments=1500):
    """How often the interval of a paired difference, of means or of counts, holds the truth."""
    rng = np.random.default_rng([n, 7])
    make = OUTCOMES[outcome]
    endless = make(np.random.default_rng(1), 400_000), make(np.random.default_rng(2), 400_000, shift)
    mean, share = (float(np.mean(f(endless[0]) - f(endless[1]))) for f in (lambda x: x, lambda x: 1.0 * (x >= 2 / 3)))
    hits = []
    for _ in range(experiments):
        found = paired_difference(by_seed(make(rng, n)), by_seed(make(rng, n, shift)), UNIT)
        hits.append((share if found.count else mean) in found.shown_interval)
    return float(np.mean(hits))


def marked(outcome, n, shift=0.0, *, rows=1, runs=1, experiments=1000):
    """How often any of a table's rows is called better or worse than the baseline, all rows shifted alike.

    With several runs a warm start, half of the variance lies between warm starts, which all rows share.
    """
    rng = np.random.default_rng([n, rows, runs])
    make = OUTCOMES[outcome]
    errors = 0
    for _ in range(experiments):
        base, *others = (make(rng, n * runs, shift * (i > 0)) for i in range(rows + 1))
        if runs > 1:
            luck = rng.normal(0, 0.1, n).repeat(runs)
            base, *others = (np.clip(one + luck, 0, 1) for one in (base, *others))
        differences = [paired_difference(by_seed(one, runs), by_seed(base, runs), UNIT) for one in others]
        p_values = corrected([one.tested for one in differences])
        verdicts = [judge(one, p) for one, p in zip(differences, p_values, strict=True)]
        errors += any(verdict in ("better", "worse") for verdict in verdicts)
    return errors / experiments


def pooled_sample(rng, clusters, runs, joint):
    """Three environments of three rewards; later environments vary more."""
    shape = (clusters, 1, 3)
    shared = rng.normal(size=shape)
    parts = []
    for environment in range(3):
        luck = shared if joint else rng.normal(size=shape)
        centre = 0.3 + 0.06 * (3 * environment + np.arange(3))
        noise = 0.05 * (1 + environment) * (luck + rng.normal(size=(clusters, runs, 3)))
        parts.append(np.clip(centre + noise, 0, 1).reshape(-1, 3))
    scores = np.concatenate(parts)
    return Sample(
        scores=scores.reshape(1, -1),
        run=np.repeat(np.arange(len(scores)), 3),
        part=np.full(scores.size, 1 / 9),
        strata=((runs,) * clusters,) * 3,
        joint=joint,
    )


def pooled_coverage(clusters, runs, joint, experiments=500):
    """Of the IQM, and of the profile's share of scores above one half."""
    rng = np.random.default_rng([clusters, runs, joint])

    def statistics(sample):
        scores = sample.scores[0]
        return (
            lambda weights: interquartile_mean(scores, weights),
            lambda weights: weighted_mean((scores > 0.5).astype(float), weights),
        )

    endless = pooled_sample(rng, 50_000, 1, joint)
    truth = [statistic(endless.weights) for statistic in statistics(endless)]
    hits = np.zeros(2)
    for _ in range(experiments):
        sample = pooled_sample(rng, clusters, runs, joint)
        for i, statistic in enumerate(statistics(sample)):
            value, half_width = with_spread(sample, statistic, resamples=300)
            hits[i] += abs(value - truth[i]) <= half_width
    return hits / experiments


@pytest.mark.seldom
@pytest.mark.parametrize("n", UNITS)
def test_intervals_of_graded_means_cover_as_often_as_they_claim(n):
    assert 0.93 <= coverage("graded", n)[0] <= 0.97


@pytest.mark.seldom
@pytest.mark.parametrize("n", UNITS)
def test_skewed_means_cover_less_but_not_far_less(n):
    assert coverage("skewed", n)[0] >= (0.85 if n < 10 else 0.89)


@pytest.mark.seldom
@pytest.mark.parametrize("n", [8, 10, 14, 20])
def test_counts_cover_at_least_what_they_claim(n):
    assert coverage("learned or lost", n)[1] >= 0.94


@pytest.mark.seldom
def test_means_of_success_and_failure_would_not():
    assert mean_where_nine_of_ten_learn(5) < 0.5
    assert mean_where_nine_of_ten_learn(10) < 0.75


@pytest.mark.seldom
@pytest.mark.parametrize("n", UNITS)
@pytest.mark.parametrize(("outcome", "least"), [("graded", 0.93), ("learned or lost", 0.93), ("skewed", 0.91)])
def test_intervals_of_differences_cover(outcome, least, n):
    assert difference_coverage(outcome, n) >= least


@pytest.mark.seldom
@pytest.mark.parametrize("n", UNITS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_of_equals_at_most_one_in_twenty_is_marked(outcome, n):
    # Two standard errors of 1,000 experiments.
    assert marked(outcome, n) <= 0.05 + 0.014


@pytest.mark.seldom
@pytest.mark.parametrize("n", [5, 6, 10, 14])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_in_a_table_of_equals_at_most_one_in_twenty_has_any_mark(outcome, n):
    assert marked(outcome, n, rows=ROWS, experiments=400) <= 0.05 + 0.022


@pytest.mark.seldom
@pytest.mark.parametrize(("n", "runs"), [(6, 3), (10, 2)])
def test_runs_of_a_warm_start_do_not_count_as_units(n, runs):
    assert marked("graded", n, rows=3, runs=runs, experiments=400) <= 0.05 + 0.022


@pytest.mark.seldom
def test_five_units_find_nothing_and_ten_find_what_is_large():
    assert marked("graded", 5, 0.4, experiments=200) == 0
    assert marked("graded", 10, 0.3, experiments=200) > 0.95
    assert marked("graded", 10, 0.3, rows=ROWS, experiments=100) > 0.9
    assert marked("learned or lost", 20, -0.6, experiments=200) > 0.9


@pytest.mark.seldom
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("clusters", "runs"), [(3, 1), (3, 3), (10, 1), (10, 3)])
def test_pooled_intervals_cover(clusters, runs, joint):
    iqm, profile = pooled_coverage(clusters, runs, joint)
    assert 0.91 <= iqm <= 0.98
    assert 0.87 <= profile <= 0.98


if __name__ == "__main__":

    def row(label, *values):
        cells = ("–" if np.isnan(value) else f"{value:.3f}".removeprefix("0") for value in values)
        print(f"| {label} | {' | '.join(cells)} |", flush=True)

    print("| n | graded | skewed | k of n | t, nine of ten |\n| --- | ---: | ---: | ---: | ---: |")
    for n in UNITS:
        counted = coverage("learned or lost", n)[1]
        row(n, coverage("graded", n)[0], coverage("skewed", n)[0], counted, mean_where_nine_of_ten_learn(n))
    print("\n| n | difference, graded | skewed | k of n |\n| --- | ---: | ---: | ---: |")
    for n in UNITS:
        row(n, *(difference_coverage(outcome, n) for outcome in OUTCOMES))
    print(
        "\nmarks on equals, one row and fourteen\n| n | graded | skewed | learned or lost | graded | skewed | learned |"
    )
    for n in UNITS:
        row(n, *(marked(outcome, n, rows=rows, experiments=1000) for rows in (1, ROWS) for outcome in OUTCOMES))
    print("\nfound: graded .1 .2 .3 alone, .3 among fourteen; learned .7 against .3 and .1, .95 against .05")
    for n in UNITS:
        alone = [marked("graded", n, shift) for shift in (0.1, 0.2, 0.3)]
        together = marked("graded", n, 0.3, rows=ROWS, experiments=300)
        row(n, *alone, together, *(marked("learned or lost", n, shift) for shift in (-0.4, -0.6)))
    print("\n| clusters × runs | IQM, own | profile | IQM, shared | profile |")
    for n, m in [(3, 1), (3, 3), (5, 1), (10, 1), (10, 3)]:
        row(f"{n} × {m}", *pooled_coverage(n, m, False), *pooled_coverage(n, m, True))
