"""Simulations: the same numbers however they are run, kept when interrupted, and told with honest intervals."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gdpo_bench.advantages import list_normalizers
from gdpo_bench.cli.main import main
from gdpo_bench.core import GdpoBenchError
from gdpo_bench.worlds.factorial import DesignError, Factorial, runs
from gdpo_bench.worlds.report import write_report
from gdpo_bench.worlds.simulate import Row, simulate
from gdpo_bench.worlds.summary import Count, front_results, main_effects, mean_of
from gdpo_bench.worlds.world import make_world

SMALL: dict[str, Any] = {
    "factors": {"conflict": [0, 0.1], "scale": [1, 6]},
    "learning_rates": [0.1, 0.3],
    "seeds": 3,
    "training": {"steps": 2, "prompts": 4, "group_size": 4},
}
FRONT: dict[str, Any] = SMALL | {"world": "tradeoff", "front": True, "factors": {"weight": [1, 8]}}


def design(**changed: Any) -> Factorial:
    return Factorial.check(SMALL | changed)


def row(level: Any, seed: int, all_right: float, rate: float = 0.1, normalizer: str = "gdpo", **mean: float) -> Row:
    return Row({"scale": level}, normalizer, rate, seed, all_right, 0.0, {}, mean)


def test_every_combination_is_run_once_and_only_cells_and_seeds_differ_in_randomness() -> None:
    planned, _ = runs(design())
    assert len(planned) == 2 * 2 * 2 * 2 * 3
    drawn = {(str(run.cell.levels), run.seed): run.randomness for run in planned}
    assert len(drawn) == len(set(drawn.values())) == 12
    assert all(run.randomness == drawn[str(run.cell.levels), run.seed] for run in planned)


def test_a_sweep_of_weights_shares_its_randomness_where_a_front_is_asked_for() -> None:
    assert len({run.randomness for run in runs(Factorial.check(FRONT))[0]}) == 3
    assert len({run.randomness for run in runs(Factorial.check(FRONT | {"front": False}))[0]}) == 6


def test_a_bundled_design_compares_every_estimator_that_is_registered() -> None:
    """But `mo_grpo`, another name of `gdpo_no_bn`."""
    compared = Factorial.check(Factorial.load("estimators"))
    assert {choice.normalizer for choice in compared.normalizers} == set(list_normalizers()) - {"mo_grpo"}
    planned, left_out = runs(compared)
    assert len(planned) == 8_280
    assert {text.split()[0] for text in left_out} == {"maxrl"}


def test_seeds_count_from_the_first() -> None:
    assert {run.seed for run in runs(design(first_seed=7))[0]} == {7, 8, 9}


@pytest.mark.slow
def test_processes_and_interruptions_change_no_byte(tmp_path: Path) -> None:
    simulate(design(), tmp_path / "whole", workers=2)
    text = (tmp_path / "whole/runs.jsonl").read_bytes()
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped/design.json").write_bytes((tmp_path / "whole/design.json").read_bytes())
    (tmp_path / "stopped/runs.jsonl").write_bytes(text[: len(text) // 2])  # in the middle of a line
    simulate(design(), tmp_path / "stopped", workers=1)
    assert (tmp_path / "stopped/runs.jsonl").read_bytes() == text


def test_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    counts: list[int] = []
    simulate(design(), tmp_path, workers=0)
    simulate(design(), tmp_path, workers=0, progress=lambda finished, of: counts.append(finished))
    assert counts == [48]


def test_a_folder_of_another_design_is_left_alone(tmp_path: Path) -> None:
    simulate(design(seeds=1), tmp_path, workers=0)
    before = (tmp_path / "runs.jsonl").read_bytes()
    with pytest.raises(GdpoBenchError, match="holds the runs of another design"):
        simulate(design(seeds=2), tmp_path, workers=0)
    assert (tmp_path / "runs.jsonl").read_bytes() == before


def test_files_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        rows, left_out = simulate(design(), tmp_path / name, workers=0)
        write_report(design(), rows, left_out, tmp_path / name)
        contents.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"design.json", "runs.jsonl", "runs.csv", "summary.json", "effects.png"}


def test_the_table_of_runs_holds_every_run_and_reward(tmp_path: Path) -> None:
    chosen = design(factors={"rewards": [1, 3]}, seeds=1)
    rows, _ = simulate(chosen, tmp_path, workers=0)
    write_report(chosen, rows, [], tmp_path)
    lines = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert len(lines) == 8
    assert {line["right.small2"] == "" for line in lines if line["rewards"] == "1"} == {True}
    assert {0 <= float(line["right.small2"]) <= 1 for line in lines if line["rewards"] == "3"} == {True}


def test_counts_have_the_interval_of_clopper_and_pearson() -> None:
    count = Count.of([True] * 8 + [False] * 4)
    exact = (stats.beta.ppf(0.025, 8, 5), stats.beta.ppf(0.975, 9, 4))
    assert (count.k, count.n, count.low, count.high) == (8, 12, *(pytest.approx(bound) for bound in exact))
    assert (Count.of([True] * 3).high, Count.of([False] * 3).low) == (1, 0)


def test_an_effect_counts_runs_of_its_level_and_never_adds_up_learning_rates() -> None:
    rows = [row(1, seed, right, rate) for seed, right in enumerate([0.9, 0.1, 0.6]) for rate in (0.1, 0.3)]
    rows += [row(6, 0, 1.0, 0.1), row(6, 0, 0.0, 0.3)]
    one, six = main_effects(design(factors={"scale": [1, 6]}), rows)
    assert [(count.k, count.n) for count in one.learned.values()] == [(2, 3), (2, 3)]
    assert [(count.k, count.n) for count in six.learned.values()] == [(1, 1), (0, 1)]
    assert six.all_right.value == 0.5


def test_an_effects_interval_takes_cell_and_seed_as_one_unit() -> None:
    """The same run at another learning rate is no new evidence."""
    once = [row(1, seed, value) for seed, value in enumerate([0.2, 0.4, 0.9])]
    twice = once + [row(1, seed, value, 0.3) for seed, value in enumerate([0.2, 0.4, 0.9])]
    (one,) = main_effects(design(factors={"scale": [1]}, learning_rates=[0.1]), once)
    (two,) = main_effects(design(factors={"scale": [1]}), twice)
    assert one.all_right == two.all_right


def test_means_have_students_interval_cut_to_what_can_be() -> None:
    values = [0.2, 0.4, 0.9, 0.7]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    interval = mean_of(values)
    assert (interval.low, interval.high) == (pytest.approx(max(0, low)), pytest.approx(min(1, high)))
    assert (mean_of([0.3]).low, mean_of([0.3]).high) == (0, 1)


def test_a_sweep_that_reaches_all_corners_lies_on_the_front() -> None:
    chosen = Factorial.check(FRONT | {"world": "tradeoff:bits=1,scale=2", "normalizers": ["gdpo"], "seeds": 2})
    rows = [
        Row({"weight": weight}, "gdpo", rate, seed, 0.0, 0.0, {}, {"large": large, "small": small})
        for rate in (0.1, 0.3)
        for seed in (0, 1)
        for weight, large, small in ((1, 2.0, 0.0), (8, rate, 0.5))  # a corner, and a place inside
    ]
    first, second = front_results(chosen, rows)
    assert first.hypervolume.value == pytest.approx(0.05 * 0.5 / 0.5)
    assert first.distance.value == pytest.approx((1 - 0.05 - 0.5) / 2**0.5 / 2)
    assert second.distance.value < first.distance.value


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"factors": {"scael": [1]}}, "Did you mean 'scale'"),
        ({"factors": {"scale": []}}, "levels must be there and differ"),
        ({"factors": {"scale": [1, 1]}}, "levels must be there and differ"),
        ({"factors": {"scale": [-1]}}, "scale must be above 0"),
        ({"factors": {"steps": [0]}}, "cannot be trained with"),
        ({"factors": {"weight": ["big"]}}, "cannot be trained with"),
        ({"normalizers": ["gpdo"]}, "Unknown normalizer 'gpdo'. Did you mean"),
        ({"normalizers": ["gdpo", "gdpo"]}, "normalizers: one is listed twice"),
        ({"normalizers": ["gdpo:weights.smal1=2"]}, "Did you mean 'small1'"),
        ({"learning_rates": [0]}, "learning_rates.0: Input should be greater than 0"),
        ({"world": "bist"}, "Did you mean 'bits'"),
        ({"sedes": 3}, "sedes: Extra inputs"),
    ],
)
def test_a_design_that_cannot_be_run_is_refused_before_it_starts(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(GdpoBenchError, match=message):
        runs(design(**changed))


@pytest.mark.parametrize("world", ["bits:rewards=3", "bits:noise=0.1", "bits:gated=true", "bits:applicable=0.5"])
def test_a_front_that_is_not_known_is_refused(world: str) -> None:
    with pytest.raises(DesignError, match="front is known for two rewards"):
        runs(Factorial.check(FRONT | {"world": world}))


def test_a_normalizers_own_weights_win_over_the_factors() -> None:
    planned, _ = runs(Factorial.check(FRONT | {"normalizers": ["gdpo", "gdpo:weights.small=3"]}))
    specs = make_world("tradeoff", {}).specs
    found = {(run.cell.weight, run.normalizer.label): run.cell.weights(run.normalizer, specs) for run in planned}
    assert [weights["small"] for weights in found.values()] == [1, 3, 8, 3]


def test_the_command_writes_numbers_and_picture_and_shows_a_table_of_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["simulate", "conflict", "--factors", "conflict=0,0.05", "correlation=[-0.6]", "--seeds", "1"]
    arguments += [
        "--training",
        "steps=1",
        "--normalizers",
        "gdpo,grpo_scaled",
        "--learning-rates",
        "0.03",
        "0.1",
        "0.3",
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    (folder,) = (tmp_path / "simulations").iterdir()
    assert max(map(len, shown.split("Runs, numbers")[0].splitlines())) <= 80
    assert "0/1 .00–.97" in shown
    assert (folder / "effects.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((folder / "summary.json").read_text())
    assert [(e["factor"], e["level"], e["normalizer"]) for e in summary["effects"]] == [
        ("conflict", 0, "gdpo"),
        ("conflict", 0, "grpo_scaled"),
        ("conflict", 0.05, "gdpo"),
        ("conflict", 0.05, "grpo_scaled"),
        ("correlation", -0.6, "gdpo"),
        ("correlation", -0.6, "grpo_scaled"),
    ]


def test_the_commands_mistakes_are_messages(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "conflcit"]) == 2
    said = capsys.readouterr().err
    assert "nor a bundled design of that name: conflict," in said
    assert "Did you mean 'conflict'" in said
