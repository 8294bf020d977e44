from types import SimpleNamespace

import numpy as np
import pytest

from gdpo_bench.leaderboard.compare.pooled import THRESHOLDS, Profile
from gdpo_bench.leaderboard.show.series import RUNS_DRAWN, learning_curve, performance_profile


def entry_of(*runs):
    """An entry whose runs are mappings from step to reward."""
    results = [
        SimpleNamespace(steps=list(run), rewards={"correct": SimpleNamespace(curve=list(run.values()))}, metrics={})
        for run in runs
    ]
    return SimpleNamespace(results=results)


def test_a_learning_curve_is_the_mean_between_the_lowest_and_the_highest_run_at_shared_steps():
    series = learning_curve(entry_of({0: 0.0, 10: 0.5, 15: 1.0}, {0: 0.5, 10: 1.0, 20: 0.0}), "correct")
    assert series.across.tolist() == [0, 10]
    assert series.line.tolist() == [0.25, 0.75]
    assert [border.tolist() for border in series.band] == [[0.0, 0.5], [0.5, 1.0]]
    assert series.runs.tolist() == [[0.0, 0.5], [0.5, 1.0]]


@pytest.mark.parametrize(("runs", "shown"), [(1, 0), (2, 2), (RUNS_DRAWN, RUNS_DRAWN), (RUNS_DRAWN + 1, 0)])
def test_single_runs_are_drawn_where_they_are_few(runs, shown):
    series = learning_curve(entry_of(*[{0: 0.1 * n} for n in range(runs)]), "correct")
    assert len(series.runs) == shown
    assert (series.band is None) == (runs == 1)


def test_a_profiles_band_stays_within_what_a_share_can_be():
    share = np.linspace(1, 0, len(THRESHOLDS))
    series = performance_profile(SimpleNamespace(profile=Profile(share, np.full(len(share), 0.2))))
    low, high = series.band
    assert (low.min(), high.max()) == (0, 1)
    assert low[50] == pytest.approx(0.3)
    assert high[50] == pytest.approx(0.7)
    assert performance_profile(SimpleNamespace(profile=Profile(share, None))).band is None
