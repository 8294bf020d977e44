"""Demonstrations made from reference solutions: what is said is right, and how it is written seldom is."""

from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gdpo_envs.coding.extraction import extract_code

from gdpo_bench.core import DeclarationError, TextEnv, make_env

COUNT = 200


def drawn(env: TextEnv[Any], seed: int = 0) -> list[tuple[Any, str]]:
    return list(islice(env.demonstrations(Random(seed)), COUNT))


def value(env: TextEnv[Any], name: str, task: Any, reply: str) -> float:
    return float(getattr(env, name)(task, reply))


@pytest.mark.parametrize(
    ("id", "options", "format", "content"),
    [
        ("gdpo/GSM8K-v0", {}, "format", "correct"),
        ("gdpo/GSM8K-v0", {"compat": "gdpo"}, "format", None),
        ("gdpo/Math-v0", {"training": "math"}, "format", None),
    ],
)
def test_a_share_is_well_formed_and_the_rest_is_not(
    data_dir: Path, id: str, options: dict[str, Any], format: str, content: str | None
) -> None:
    for rate in (0.0, 0.4, 1.0):
        env = make_env(id, format_rate=rate, **options)
        demonstrations = drawn(env)
        share = sum(value(env, format, *one) for one in demonstrations) / COUNT
        assert share == pytest.approx(rate, abs=0.1 if 0 < rate < 1 else 0)
        if content:
            assert sum(value(env, content, *one) for one in demonstrations) > 0.9 * COUNT


@pytest.mark.parametrize("id", ["gdpo/GSM8K-v0", "gdpo/MBPP-v0"])
def test_they_are_of_training_tasks_and_follow_from_the_seed(data_dir: Path, id: str) -> None:
    env = make_env(id)
    training = {task.id for task in env.tasks("train")}
    assert {task.id for task, _ in drawn(env)} <= training
    assert drawn(env) == drawn(env) != drawn(env, seed=1)


def test_the_marks_of_gsm8ks_calculator_are_left_out(data_dir: Path) -> None:
    assert any("<<" in task.solution for task, _ in drawn(make_env("gdpo/GSM8K-v0")))
    assert not any("<<" in reply for _, reply in drawn(make_env("gdpo/GSM8K-v0")))


def test_programs_are_whole_in_a_fence_or_none_that_runs(data_dir: Path) -> None:
    def runs(task: Any, reply: str) -> bool:
        code = extract_code(reply, task.entry)
        try:
            return code is not None and bool(compile(code, "reply", "exec"))
        except SyntaxError:
            return False

    for rate in (0.0, 1.0):
        assert {runs(*one) for one in drawn(make_env("gdpo/MBPP-v0", format_rate=rate))} == {bool(rate)}


def test_tool_calls_are_the_true_ones_and_mostly_badly_tagged(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "toolrl").mkdir()
    published = data_dir / "toolrl" / "rlla_4k_test.parquet"  # the only file of the two that is here
    for name in ("train", "test"):
        (tmp_path / "toolrl" / f"rlla_4k_{name}.parquet").symlink_to(published)
    env = make_env("gdpo/ToolCalling-v0", data_dir=str(tmp_path), format_rate=0.3)
    training = env.tasks("eval")  # what stands in both is left out of training
    env.tasks = lambda split: training  # type: ignore[method-assign]
    demonstrations = drawn(env)
    well_formed = [one for one in demonstrations if value(env, "format", *one)]
    assert len(well_formed) / COUNT == pytest.approx(0.3, abs=0.1)
    assert all(reply == task.answer for task, reply in well_formed)
    readable = [env.correctness(*one) for one in demonstrations if one[0].calls]
    assert sum(score == 3 for score in readable) > len(readable) / 2


@pytest.mark.parametrize("id", ["gdpo/HumanEval-v0", "gdpo/ToolCalling-v0"])
def test_without_training_data_there_are_none(tmp_path: Path, id: str) -> None:
    assert drawn(make_env(id, data_dir=str(tmp_path))) == []


def test_a_share_lies_between_0_and_1() -> None:
    for id in ("gdpo/GSM8K-v0", "gdpo/Math-v0", "gdpo/ToolCalling-v0", "gdpo/MBPP-v0"):
        with pytest.raises(DeclarationError, match="format_rate is a share"):
            make_env(id, format_rate=1.5)
