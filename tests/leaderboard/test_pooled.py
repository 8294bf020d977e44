import io
import re

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from gdpo_bench import RewardSpec
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.core import DataError
from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.compare.pooled import THRESHOLDS, interquartile_mean, make_sample, pool
from gdpo_bench.leaderboard.files.store import Board, write_entry
from gdpo_bench.leaderboard.show.plots import PALETTE
from gdpo_bench.leaderboard.show.pooled_table import render_pooled

OTHER = [RewardSpec("brief", 0, 10)]
HIGH, LOW = (0.9, 0.8, 0.85, 0.95), (0.4, 0.3, 0.38, 0.45)


@pytest.fixture
def two(entry):
    """Two normalizers in two environments; the second environment has one reward, the first two."""

    def make(finals=None, **fields):
        finals = finals or {"gdpo": HIGH, "grpo": LOW}
        return [
            entry(name, values, environment=environment, specs=specs, **fields)
            for environment, specs in (
                ("gdpo/A-v0", [RewardSpec("x", 0, 1), RewardSpec("y", -3, 3)]),
                ("gdpo/B-v0", OTHER),
            )
            for name, values in finals.items()
        ]

    return make


def printed(views, width=140):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_pooled(views))
    return console.export_text()


@pytest.mark.parametrize("n", [4, 12, 40])
def test_with_equal_weights_the_iqm_is_scipys(n):
    scores = np.random.default_rng(n).random(n)
    assert interquartile_mean(scores, np.ones(n)) == pytest.approx(stats.trim_mean(scores, 0.25))


def test_a_score_of_double_weight_counts_like_two():
    scores = np.array([0.1, 0.5, 0.6, 0.9, 0.2, 0.4, 0.8])
    weights = np.array([1, 2, 1, 1, 1, 1, 1])
    assert interquartile_mean(scores, weights) == pytest.approx(stats.trim_mean([*scores, 0.5], 0.25))


def test_one_broken_run_moves_the_iqm_less_than_the_mean():
    scores = np.array([0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.62, 0.64])
    broken = np.append(scores[:-1], 0.0)
    assert interquartile_mean(scores, np.ones(8)) - interquartile_mean(broken, np.ones(8)) < (scores - broken).mean()


def test_scores_are_put_on_the_declared_range_and_environments_count_equally(two):
    sample = make_sample([(entry,) for entry in two({"gdpo": HIGH})])
    assert np.allclose(sample.scores[0], np.tile(HIGH, 3))
    # Two rewards of A count a quarter each, the one of B a half.
    assert sample.weights == pytest.approx(np.repeat([1 / 4, 1 / 4, 1 / 2], 4) / 4)


def test_pooled_numbers_of_a_clear_case(two):
    (view,) = pool(two())
    assert view.environments == ("gdpo/A-v0", "gdpo/B-v0")
    assert (view.rewards, view.baseline, view.left_out) == (3, "grpo", ())
    gdpo, grpo = view.rows
    assert (gdpo.label, grpo.label) == ("gdpo", "grpo")
    assert gdpo.iqm.value == pytest.approx((0.85 + 0.9) / 2)
    assert grpo.iqm.value == pytest.approx((0.38 + 0.4) / 2)
    assert gdpo.difference.value == pytest.approx(gdpo.iqm.value - grpo.iqm.value)
    assert 0 < gdpo.difference.half_width < gdpo.difference.value
    assert (gdpo.improvement.value, gdpo.improvement.half_width) == (1.0, 0.0)
    assert (grpo.difference, grpo.improvement) == (None, None)
    assert (gdpo.clusters, gdpo.unit, gdpo.runs) == (4, "RL seed", 8)


def test_equal_runs_count_half_an_improvement(two):
    (view,) = pool(two({"gdpo": HIGH, "grpo": HIGH}))
    assert view.rows[0].improvement.value == 0.5
    assert view.rows[0].difference.value == 0


def test_a_profile_is_the_share_of_scores_above_each_threshold(two):
    (view,) = pool(two())
    profile = view.rows[0].profile
    expected = [np.mean(np.array(HIGH) > threshold) for threshold in THRESHOLDS]
    assert profile.share == pytest.approx(expected, abs=1e-9)
    assert profile.half_width[0] == pytest.approx(0, abs=1e-12)
    assert profile.half_width.max() > 0.1


def test_pairing_makes_differences_surer_than_the_numbers_themselves(two):
    (view,) = pool(two({"gdpo": (0.35, 0.55, 0.76, 0.95), "grpo": (0.3, 0.5, 0.7, 0.9)}))
    gdpo = view.rows[0]
    assert gdpo.difference.half_width < gdpo.iqm.half_width / 4


def test_warm_starts_that_environments_share_are_drawn_for_all_of_them(two):
    seeds = [Seed(warm_start=i, rl=i) for i in range(4)]
    own = [Seed(warm_start=None, rl=i) for i in range(4)]
    joint, apart = (make_sample([(e,) for e in two({"gdpo": HIGH}, seeds=s)]) for s in (seeds, own))
    assert (joint.joint, apart.joint) == (True, False)
    assert (joint.degrees, apart.degrees) == (3, 6)
    a, b = (joint.drawn_weights(50)[:, at : at + 4] for at in (0, 8))
    assert np.allclose(a * 2, b)
    a, b = (apart.drawn_weights(50)[:, at : at + 4] for at in (0, 8))
    assert not np.allclose(a * 2, b)


def test_repeating_runs_of_a_warm_start_does_not_make_the_pool_surer(two):
    once = [Seed(warm_start=i, rl=0) for i in range(4)]
    often = [Seed(warm_start=i, rl=j) for i in range(4) for j in range(5)]
    (few,) = pool(two(seeds=once))
    (many,) = pool(two({name: np.repeat(finals, 5) for name, finals in (("gdpo", HIGH), ("grpo", LOW))}, seeds=often))
    assert many.rows[0].iqm.half_width == pytest.approx(few.rows[0].iqm.half_width)
    assert (many.rows[0].clusters, many.rows[0].runs) == (4, 40)


def test_single_runs_have_no_interval(two):
    (view,) = pool(two({"gdpo": (0.9,), "grpo": (0.3,)}))
    assert view.rows[0].iqm.half_width is None
    assert view.rows[0].profile.half_width is None
    assert "has no interval" in printed([view])


def test_a_configuration_that_is_not_everywhere_is_left_out_and_named(two, entry):
    (view,) = pool([*two(), entry("rloo", HIGH, environment="gdpo/B-v0", specs=OTHER)])
    assert [row.label for row in view.rows] == ["gdpo", "grpo"]
    assert view.left_out == ("rloo",)
    assert "Left out, since not run once in each environment: rloo." in printed([view])


def test_weights_of_other_rewards_do_not_tell_configurations_apart_but_chosen_ones_do(two, entry):
    heavy = [
        entry("gdpo", HIGH, environment=e.environment.id, specs=s, weights={r.name: 2.0 for r in s})
        for e, s in zip(two()[::2], ([RewardSpec("x", 0, 1), RewardSpec("y", -3, 3)], OTHER), strict=True)
    ]
    (view,) = pool([*two(), *heavy])
    assert "gdpo" in {row.label.split(":")[0] for row in view.rows}
    assert len(view.left_out) == 2  # x and y weigh 2 in A, brief in B: not the same configuration


def test_one_environment_is_not_pooled(entry):
    with pytest.raises(DataError, match=r"at least two environments.*got entries of gdpo/TestMini-v0"):
        pool([entry("gdpo"), entry("grpo")])


def test_environments_trained_differently_are_not_pooled(entry):
    entries = [entry(environment="gdpo/A-v0", steps=(0, 10)), entry(environment="gdpo/B-v0", steps=(0, 20))]
    with pytest.raises(DataError, match="in the same way"):
        pool(entries)


def test_the_text_names_environments_and_does_not_rank(two):
    text = printed(pool(two()))
    assert "2 environments, 3 rewards: gdpo/A-v0, gdpo/B-v0" in text
    assert "4 RL seeds" in text
    assert "No ranking" in text


def test_eighty_columns_leave_names_whole(two):
    finals = {"gdpo": HIGH, "grpo": LOW, "reinforce_pp_baseline": LOW}
    text = printed(pool(two(finals)), width=80)
    assert re.search(r"^ reinforce_pp_baseline ", text, re.MULTILINE)


def test_the_command_prints_the_table_and_draws_the_profiles(two, tmp_path, capsys):
    board = Board(tmp_path / "board")
    for one in two():
        board.file(one)
    assert main(["profile", "--root", str(board.root), "--out", str(tmp_path / "p.png")]) == 0
    assert "IQM" in capsys.readouterr().out
    pixels = (matplotlib.image.imread(tmp_path / "p.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    found = {f"#{r:02X}{g:02X}{b:02X}" for r, g, b in set(map(tuple, pixels))}
    assert set(PALETTE[:2]) <= found
    assert not set(PALETTE[2:6]) & found


def test_the_command_reads_the_folder_of_a_run(two, tmp_path, capsys):
    for one in two():
        write_entry(one, tmp_path / "run" / "entries")
    assert main(["profile", "--root", str(tmp_path / "run")]) == 0
    assert "gdpo/A-v0, gdpo/B-v0" in capsys.readouterr().out


def test_the_command_refuses_the_advantage_track(tmp_path, replay, capsys):
    Board(tmp_path).file(replay())
    assert main(["profile", "--root", str(tmp_path), "--track", "advantage"]) == 2
    assert "Nothing was trained" in capsys.readouterr().err
