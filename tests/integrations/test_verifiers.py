"""Our environments as modules for verifiers: through them each rollout earns what it earns here."""

import asyncio
import importlib
import json
import os
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from gdpo_bench.cli.main import main
from gdpo_bench.core import make_env, registry
from gdpo_bench.core.scoring import EpisodeBatch, score
from gdpo_bench.integrations.verifiers import write_taskset

IN_TOX = "GDPO_BENCH_NEEDS_VERIFIERS" in os.environ  # there a missing package is a failure
needs_package = pytest.mark.skipif(
    not IN_TOX and find_spec("verifiers") is None, reason="verifiers is not installed: tox -e verifiers"
)
TOOLS = "gdpo/ToolCallingMini-v1:format_rate=0.3"
Export = Callable[..., str]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Writes a module that can be imported, and gives its name."""

    def export(env_id: str, **options: Any) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        module, *_ = write_taskset(env_id, folder, **options)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, module.stem, raising=False)
        return module.stem

    return export


def rollouts(env: Any) -> tuple[list[Any], list[str]]:
    """Tasks with imperfect replies, right ones and strange ones."""
    tasks = list(env.tasks("train"))[:12]
    pairs = list(islice(env.demonstrations(Random(0)), 40))
    pairs += [(task, str(env.reference(task))) for task in tasks if env.reference(task)]
    pairs += [(task, reply) for task in tasks for reply in ("", " \n", "ab", "aaaaaa", "ä" * 300)]
    return [task for task, _ in pairs], [reply for _, reply in pairs]


@needs_package
@pytest.mark.parametrize("env_id", ["gdpo/MathMini-v1", TOOLS, "gdpo/Constraints-v0"])
def test_round_trip_gives_the_same_vector_for_every_rollout(env_id: str, export: Export) -> None:
    plain, options = registry.parse_id(env_id)
    _assert_equal(plain, options, export(plain, **options))


@needs_package
def test_round_trip_of_a_dialogue_gives_the_same_vector_for_every_episode(export: Export) -> None:
    ours = make_env("gdpo/ToolDialog-v0")
    theirs = make_env(f"verifiers:{export('gdpo/ToolDialog-v0')}")
    assert theirs.max_turns == ours.max_turns
    pairs: list[Any] = list(islice(ours.demonstrations(Random(0)), 30))
    bad = (
        ["?"],
        [""],
        ["<tool_call>{}</tool_call>"] * 6,
        ['<tool_call>{"name": "x", "parameters": {}}</tool_call>'] * 6,
    )
    pairs += [(pairs[0][0], script) for script in bad]
    places = {task.id: index for index, task in enumerate(ours.tasks("train"))}
    items = {item.index: item for split in theirs.splits for item in theirs.tasks(split)}
    scripts = [script for _, script in pairs]
    direct = _played(ours, [task for task, _ in pairs], scripts)
    through = _played(theirs, [items[places[task.id]] for task, _ in pairs], scripts)
    assert [spec.name for spec in ours.reward_specs] == [spec.name for spec in theirs.reward_specs]
    assert direct.values.tolist() == through.values.tolist()
    assert direct.applicable.tolist() == through.applicable.tolist()
    assert direct.failed.tolist() == through.failed.tolist()
    assert len({tuple(row) for row in direct.values}) > 4


def _played(env: Any, tasks: list[Any], scripts: list[list[str]]) -> Any:
    batch = EpisodeBatch(env, "x", tasks)
    total = batch.play([script[0] for script in scripts])
    for turn in range(1, env.max_turns):
        total = total + batch.play([script[turn] if turn < len(script) else "" for script in scripts])
    return total


@needs_package
def test_round_trip_keeps_what_is_not_applicable_and_what_failed(moody: str, export: Export) -> None:
    direct = _assert_equal(moody, {}, export(moody))
    assert direct.failed.any()
    assert not direct.applicable.all()
    assert direct.failed.any(1).sum() < len(direct.values)


def _assert_equal(env_id: str, options: dict[str, Any], module: str) -> Any:
    ours, theirs = make_env(env_id, **options), make_env(f"verifiers:{module}")
    names = [spec.name for spec in ours.reward_specs]
    by_name = {spec.name: spec for spec in theirs.reward_specs}
    assert sorted(by_name) == sorted(names)
    for spec in ours.reward_specs:
        other = by_name[spec.name]
        assert (other.low, other.high, other.weight) == (spec.low, spec.high, spec.weight)
    places = {task.id: index for index, task in enumerate(ours.tasks("train"))}
    items = {item.index: item for split in theirs.splits for item in theirs.tasks(split)}
    tasks, replies = rollouts(ours)
    direct = score(ours, env_id, tasks, replies)
    through = score(theirs, module, [items[places[task.id]] for task in tasks], replies)
    columns = [[spec.name for spec in theirs.reward_specs].index(name) for name in names]
    for array in ("values", "applicable", "failed"):
        assert np.array_equal(getattr(direct, array), getattr(through, array)[:, columns]), array
    assert (direct.values.std(0) > 0).all()
    assert theirs.messages(items[0]) == ours.messages(ours.tasks("train")[0])
    return direct


@needs_package
def test_a_trace_of_verifiers_carries_the_vector_by_name(export: Export) -> None:
    import verifiers.v1 as vf
    from gdpo_envs.verifiers.scoring import trace_of

    name = export("gdpo/MathMini-v1")
    config = vf.taskset_config_type(name)
    ours = make_env("gdpo/MathMini-v1")
    for split in ("train", "eval"):
        taskset = vf.load_taskset(config(id=name, split=split))
        assert [task.data.id for task in taskset] == [task.id for task in ours.tasks(split)]
    task, own = next(iter(taskset)), ours.tasks("eval")[0]
    # Spaces count, though verifiers' `last_reply` has none.
    for reply in (str(ours.reference(own)), f" {ours.reference(own)}", "no"):
        trace = trace_of(task, reply)
        asyncio.run(task.score(trace))
        (row,) = score(ours, "x", [own], [reply]).values.tolist()
        expected = dict(zip([spec.name for spec in ours.reward_specs], row, strict=True))
        assert {key: value.score for key, value in trace.rewards.items()} == expected
        assert trace.reward == pytest.approx(sum(spec.weight * expected[spec.name] for spec in ours.reward_specs))
        assert json.loads(json.dumps(trace.to_record()))["info"]["gdpo_bench"]["rewards"] == expected
    assert importlib.import_module(name).__all__ == ["MathMini"]


@needs_package
def test_thoughts_that_the_model_server_took_out_are_put_back(export: Export) -> None:
    import verifiers.v1 as vf
    from gdpo_envs.verifiers.scoring import trace_of

    from gdpo_bench.integrations.verifiers.taskset import reply_of

    name = export("gdpo/MathMini-v1")
    task = next(iter(vf.load_taskset(vf.taskset_config_type(name)(id=name))))
    trace = trace_of(task, "<answer>3</answer>")
    trace.nodes[-1].message.reasoning_content = "1 + 2"
    assert reply_of(trace) == "<think>1 + 2</think><answer>3</answer>"


def test_what_is_written_is_small_and_the_same_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("one", "two"):
        assert main(["export", TOOLS, "--to", "verifiers", str(tmp_path / folder)]) == 0
    one, two = (sorted((tmp_path / folder).iterdir()) for folder in ("one", "two"))
    assert [path.name for path in one] == ["gdpo_toolcallingmini_v1.py", "pyproject.toml"]
    assert [path.read_text() for path in one] == [path.read_text() for path in two]
    text = one[0].read_text()
    assert text.count("\n") < 60
    assert max(map(len, text.splitlines())) <= 120
    assert """env_tasks(ToolCallingMiniTask, "gdpo/ToolCallingMini-v1", {'format_rate': 0.3}, self.config)""" in text
    assert "verifiers knows the taskset gdpo_toolcallingmini_v1" in capsys.readouterr().out
    compile(text, "module", "exec")


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept").write_text("mine")
    for folder in (tmp_path, tmp_path / "kept"):
        assert main(["export", "gdpo/MathMini-v1", "--to", "verifiers", str(folder)]) == 2
        assert "name a new folder" in capsys.readouterr().err
    assert (tmp_path / "kept").read_text() == "mine"
    assert main(["export", "gdpo/MathMin-v1", "--to", "openenv", str(tmp_path / "new")]) == 2
    assert "Did you mean 'gdpo/MathMini-v1'" in capsys.readouterr().err


@needs_package
@pytest.mark.slow
def test_blocks_of_the_page_run_as_they_are_printed(tmp_path: Path, typed: Callable[[str], str]) -> None:
    text = (Path(__file__).parents[2] / "docs/to-verifiers.md").read_text(encoding="utf-8")
    bash, python = re.findall(r"^```(?:bash|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "score.py").write_text(python, encoding="utf-8")
    assert "'format': 1.0" in typed(bash + "python score.py\n")
