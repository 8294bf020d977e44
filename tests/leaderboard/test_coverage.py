"""How often intervals cover the truth, and how often verdicts err, by simulation of nested data.

`python tests/leaderboard/test_coverage.py` prints the tables of `docs/statistics.md`.
"""

import numpy as np
import pytest

from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.compare.intervals import holm, mean_interval
from gdpo_bench.leaderboard.compare.pooled import Sample, interquartile_mean, weighted_mean, with_spread
from gdpo_bench.leaderboard.compare.statistics import judge, paired_difference

CLUSTERS, RUNS = (3, 5, 10, 20), (1, 2, 3)
SHAPES = {"normal": lambda rng, size: rng.normal(size=size), "skewed": lambda rng, size: rng.exponential(size=size) - 1}
REWARDS = 4


def nested(rng, experiments, clusters, runs, *, shape="normal", between=1.0):
    """(experiments, clusters, runs) values with mean 0; runs of a cluster vary by 1."""
    noise = SHAPES[shape]
    return between * noise(rng, (experiments, clusters, 1)) + noise(rng, (experiments, clusters, runs))


def coverage(clusters, runs, *, experiments=2000, **data_options):
    rng = np.random.default_rng([clusters, runs])
    data = nested(rng, experiments, clusters, runs, **data_options)
    halves = [mean_interval(values.ravel(), (runs,) * clusters, 0.95, resamples=999)[0] for values in data]
    return np.mean(np.abs(data.mean(axis=(1, 2))) <= halves)


def naive_coverage(clusters, runs, *, experiments=1000, resamples=500, **data_options):
    """Of percentiles of a bootstrap that takes all runs for independent."""
    rng = np.random.default_rng([clusters, runs])
    data = nested(rng, experiments, clusters, runs, **data_options).reshape(experiments, -1)
    drawn = rng.integers(data.shape[1], size=(resamples, data.shape[1]))
    low, high = np.quantile([values[drawn].mean(axis=1) for values in data], [0.025, 0.975], axis=1)
    return np.mean((low <= 0) & (high >= 0))


def false_positives(clusters, runs, grid=None, experiments=2000):
    """Share of comparisons of two equals, in four correlated rewards, that call any of them better or worse."""
    rng = np.random.default_rng([clusters, runs, 1])
    seeds = [Seed(warm_start=i, rl=j) for i in range(clusters) for j in range(runs)]
    errors = 0
    for _ in range(experiments):
        luck = nested(rng, 2, clusters, runs)  # of each entry, in all of its rewards
        differences = []
        for _ in range(REWARDS):
            values = luck + nested(rng, 2, clusters, runs)
            values = values if grid is None else np.round(values / grid) * grid
            first, second = (dict(zip(seeds, own.ravel(), strict=True)) for own in values)
            differences.append(paired_difference(first, second))
        adjusted = holm([difference.p for difference in differences])
        verdicts = [judge(difference, p) for difference, p in zip(differences, adjusted, strict=True)]
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


@pytest.mark.slow
@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("clusters", CLUSTERS)
def test_intervals_cover_as_often_as_they_claim(clusters, runs):
    assert 0.92 <= coverage(clusters, runs) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("clusters", CLUSTERS)
@pytest.mark.parametrize("between", [0.0, 0.3, 3.0])
def test_they_do_whatever_varies_more_runs_or_clusters(clusters, between):
    assert 0.92 <= coverage(clusters, 3, between=between) <= 0.97


@pytest.mark.slow
def test_pooling_the_runs_would_cover_far_less():
    assert naive_coverage(5, 3) < 0.80
    assert naive_coverage(5, 3, between=0.5) < 0.86


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "runs"), [(3, 1), (3, 3), (5, 1), (10, 1), (10, 3)])
def test_verdicts_on_equals_err_in_at_most_one_comparison_in_twenty(clusters, runs):
    assert false_positives(clusters, runs, experiments=2000 if clusters < 10 else 600) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "runs", "most"), [(3, 1, 0.07), (3, 3, 0.05), (5, 1, 0.05)])
def test_on_a_coarse_scale_too_but_for_three_lone_runs_that_agree_by_chance(clusters, runs, most):
    assert false_positives(clusters, runs, grid=1.0) <= most


@pytest.mark.slow
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("clusters", "runs"), [(3, 1), (3, 3), (10, 1), (10, 3)])
def test_pooled_intervals_cover(clusters, runs, joint):
    iqm, profile = pooled_coverage(clusters, runs, joint)
    assert 0.91 <= iqm <= 0.98
    assert 0.87 <= profile <= 0.98


if __name__ == "__main__":
    print("| clusters × runs | ours | ours, skewed | naive |\n| --- | ---: | ---: | ---: |")
    for n in CLUSTERS:
        for m in RUNS:
            found = coverage(n, m), coverage(n, m, shape="skewed"), naive_coverage(n, m)
            print(
                f"| {n} × {m} | " + " | ".join(f"{value:.3f}".removeprefix("0") for value in found) + " |", flush=True
            )
    print("\nspread between clusters, coverage at 3, 5, 10, 20 clusters × 3 runs:")
    for between in (0.0, 0.3, 3.0):
        print(between, [round(float(coverage(n, 3, between=between)), 3) for n in CLUSTERS], flush=True)
    print("naive, 5 × 3, half the spread between clusters:", naive_coverage(5, 3, between=0.5))
    print("\n| clusters × runs | wrong verdicts | on a grid | IQM, strata | profile | IQM, joint | profile |")
    for n, m in [(3, 1), (3, 3), (5, 1), (10, 1), (10, 3)]:
        found = (
            false_positives(n, m),
            false_positives(n, m, 1.0),
            *pooled_coverage(n, m, False),
            *pooled_coverage(n, m, True),
        )
        print(f"| {n} × {m} | " + " | ".join(f"{value:.3f}".removeprefix("0") for value in found) + " |", flush=True)
