import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from gdpo_envs.loading import DATA_VARIABLE, SplitFiles, load, revision
from gdpo_envs.tool_calling.toolrl import Call
from gdpo_envs.tool_calling.toolrl_env import SOURCE, ToolCalling, ToolRLTask

import gdpo_bench
from gdpo_bench.core import DataError, UnknownNameError

ID = "gdpo/ToolCalling-v0"
SYSTEM = "You can use the following tools:\n1. Name: weather"
CALLS = '<think> so </think>\n<tool_call>\n{"name": "weather", "parameters": {"city": "Oslo"}}\n</tool_call>'
RESPONSE = "<think> so </think>\n<response> Which city? </response>"


def row(user: str, answer: str | None, split: str = "train", **other: Any) -> dict[str, Any]:
    """A row of the published schema, which is verl's."""
    return {
        "data_source": "rlla",
        "prompt": [{"content": SYSTEM, "role": "system"}, {"content": user, "role": "user"}],
        "ability": "math",
        "reward_model": {"ground_truth": answer, "style": "rule"},
        "extra_info": {"index": 0, "input": user, "instruction": SYSTEM, "output": answer, "split": split},
    } | other


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    (folder / "toolrl").mkdir(exist_ok=True)
    path = folder / f"toolrl/rlla_4k_{name}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path,
        "train",
        [row("Weather in Oslo?", CALLS), row("Weather?", RESPONSE), row("Hm", CALLS + "\n" + RESPONSE[20:])],
    )
    write(tmp_path, "test", [row("Weather in Rome?", CALLS.replace("Oslo", "Rome"), "test")])
    return tmp_path


def test_prompt_is_the_published_one(folder: Path) -> None:
    env = ToolCalling(data_dir=str(folder))
    task = env.tasks("train")[0]
    assert env.messages(task) == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "Weather in Oslo?"},
    ]


def test_rewards_of_the_published_answers_are_full_and_correctness_applies_where_there_are_calls(folder: Path) -> None:
    venv = gdpo_bench.make_vec(ID, num_prompts=3, data_dir=str(folder), group_size=1)
    tasks = {task.prompt: task for task in venv.tasks}
    order = ["Weather in Oslo?", "Weather?", "Hm"]
    venv.reset(options={"task_ids": [tasks[prompt].id for prompt in order]})
    _, rewards, _, _, info = venv.step([tasks[prompt].answer for prompt in order])
    assert [spec.name for spec in venv.reward_specs] == ["format", "correctness"]
    assert [spec.metric for spec in venv.reward_specs] == ["format_rate", "accuracy"]
    assert rewards.tolist() == [[1, 3], [1, 0], [1, 3]]
    assert info["applicable"].tolist() == [[True, True], [True, False], [True, True]]


def test_compat_is_the_published_reward(folder: Path) -> None:
    strict, compat = ToolCalling(data_dir=str(folder)), ToolCalling(compat="toolrl", data_dir=str(folder))
    calls, response, _ = strict.tasks("train")
    joined = CALLS.replace("</think>\n", "</think>")
    assert (strict.format(calls, joined), compat.format(calls, joined)) == (1, 0)
    assert (strict.correctness(response, "no"), compat.correctness(response, "no")) == (None, 0)
    mention = CALLS.replace("so", "a <tool_call>")
    assert (strict.correctness(calls, mention), compat.correctness(calls, mention)) == (3, -3)


def test_unknown_compat_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'toolrl'"):
        ToolCalling(compat="toolr")


def test_training_dialogue_that_is_in_evaluation_or_repeated_is_left_out_and_reported(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, "train", [row("Weather in Rome?", RESPONSE), row("A", CALLS), row("A", CALLS), row("A", RESPONSE)])
    assert [task.answer for task in ToolCalling(data_dir=str(folder)).tasks("train")] == [CALLS, RESPONSE]
    assert "left out 2 dialogues of 'train'" in caplog.text


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        (row("A", "<think> so </think>\n<tool_call>\nweather(Oslo)\n</tool_call>"), "not in ToolRL's format"),
        (row("A", "just words"), "not in ToolRL's format"),
        (row("A", None), "holds no 'ground_truth'"),
        (row("A", CALLS, prompt=[{"content": "A", "role": "user"}]), "not a system and a user message"),
        (row("A", CALLS, prompt=None), "'prompt' is missing"),
    ],
)
def test_row_that_cannot_be_used_is_counted_and_reported(
    folder: Path, caplog: pytest.LogCaptureFixture, unusable: dict[str, Any], reason: str
) -> None:
    write(folder, "train", [row("Weather?", RESPONSE), unusable])
    assert len(ToolCalling(data_dir=str(folder)).tasks("train")) == 1
    assert "1 of 2 rows cannot be used: row 2:" in caplog.text
    assert reason in caplog.text


def test_other_columns_are_an_error(folder: Path) -> None:
    write(folder, "test", [{"question": "A", "answer": "B"}])
    with pytest.raises(DataError, match="has no column 'prompt'"):
        ToolCalling(data_dir=str(folder)).tasks("eval")


def test_evaluation_needs_no_training_data_and_training_says_what_is_missing(folder: Path) -> None:
    both = ToolCalling(data_dir=str(folder)).data_revision()
    (folder / "toolrl/rlla_4k_train.parquet").unlink()
    env = ToolCalling(data_dir=str(folder))
    assert len(env.tasks("eval")) == 1
    assert env.data_revision() != both
    with pytest.raises(DataError, match=r"has no toolrl/rlla_4k_train\.parquet"):
        env.tasks("train")
    (folder / "toolrl/rlla_4k_test.parquet").unlink()
    with pytest.raises(DataError, match=r"has no toolrl/rlla_4k_test\.parquet"):
        env.data_revision()


def test_published_files_are_read_by_their_pinned_address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    for files in SOURCE.splits.values():
        assert files.hub.startswith(f"https://raw.githubusercontent.com/{SOURCE.hub}/{SOURCE.revision}/")
    there = {"eval": SplitFiles(hub=(folder / "toolrl/rlla_4k_test.parquet").as_uri(), local="nowhere")}
    source = replace(SOURCE, splits=there)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
    for _ in range(2):
        assert [read["prompt"][1]["content"] for read in load(source, "eval", dict).rows] == ["Weather in Rome?"]
        (folder / "toolrl/rlla_4k_test.parquet").unlink(missing_ok=True)  # it is kept
    gone = replace(SOURCE, splits={"eval": SplitFiles(hub=(folder / "gone.parquet").as_uri(), local="toolrl/here")})
    with pytest.raises(DataError, match=r"from file://.*gone\.parquet: .*Go online, or .*expected there: toolrl/here"):
        load(gone, "eval", dict)
    assert revision(source) == "qiancheng0/ToolRL@8cee13ec0ca72f0461da372a93a6fd8140dbb840"


# Real rows


@pytest.fixture(scope="module")
def dialogues(data_dir: Path) -> list[ToolRLTask]:
    return list(ToolCalling(data_dir=str(data_dir)).tasks("eval"))


def test_published_answers_of_the_real_data_earn_full_marks(dialogues: list[ToolRLTask]) -> None:
    for compat in (None, "toolrl"):
        env = ToolCalling(compat=compat)
        values = [env.correctness(task, task.answer) for task in dialogues]
        assert (len(values), values.count(3), values.count(0 if compat else None)) == (80, 71, 9)
        assert all(env.format(task, task.answer) == 1 for task in dialogues)


def corruptions(true: list[Call], i: int) -> Iterator[tuple[str, list[Call], float, int]]:
    """What is done to call `i` of n, the calls that come of it, the R that they earn, and by how much S grows.

    The names of the true calls differ, so that nothing else can pair.
    """
    n, k = len(true), len(true[i]["parameters"])
    whole = [1.0 + len(call["parameters"]) for call in true]
    others = sum(whole) - whole[i]
    name, parameters = true[i]["name"], true[i]["parameters"]

    def with_call(call: Call) -> list[Call]:
        return [*true[:i], call, *true[i + 1 :]]

    yield "order", true[::-1], 1 + sum(whole), 0
    yield "name", with_call(Call(name="made up", parameters=parameters)), (n - 1) / (n + 1) + others, 1 + k
    yield "extra call", [*true, Call(name="made up", parameters={})], n / (n + 1) + sum(whole), 1
    yield "call twice", [*true, true[i]], n / (n + 1) + sum(whole), 1 + k
    yield "missing call", [*true[:i], *true[i + 1 :]], (n - 1) / n + others, 0
    wider = parameters | {"made up": 1}
    yield "extra key", with_call(Call(name=name, parameters=wider)), 1 + others + k / (k + 1) + k, 0
    for key in parameters:
        rest = {other: value for other, value in parameters.items() if other != key}
        yield "value", with_call(Call(name=name, parameters=parameters | {key: ["made up"]})), sum(whole), 0
        renamed = rest | {"made up": parameters[key]}
        yield "key", with_call(Call(name=name, parameters=renamed)), 1 + others + (k - 1) / (k + 1) + (k - 1), 0
        yield "missing key", with_call(Call(name=name, parameters=rest)), 1 + others + (k - 1) / k + (k - 1), 0


@pytest.mark.parametrize("compat", [None, "toolrl"])
def test_corruptions_of_real_answers_lose_exactly_what_the_formula_says(
    dialogues: list[ToolRLTask], compat: str | None
) -> None:
    env = ToolCalling(compat=compat)
    seen: dict[str, int] = {}
    for task in dialogues:
        if not task.calls or len({call["name"] for call in task.calls}) < len(task.calls):
            continue
        for i in range(len(task.calls)):
            for name, calls, earned, superfluous in corruptions(task.calls, i):
                if not calls:
                    continue
                block = "\n".join(map(json.dumps, calls))
                reply = f"<think> so </think>\n<tool_call>\n{block}\n</tool_call>"
                possible = 1 + sum(1 + len(call["parameters"]) for call in task.calls)
                expected = -3 + 6 * earned / (possible if compat else possible + superfluous)
                assert env.correctness(task, reply) == pytest.approx(expected, abs=1e-9), (name, task)
                assert env.format(task, reply) == 1
                seen[name] = seen.get(name, 0) + 1
    assert min(seen.values()) > 30, seen


@pytest.mark.parametrize(
    "break_reply",
    [
        lambda answer: f"Well. {answer}",
        lambda answer: answer.replace("</think>", ""),
        lambda answer: answer + "\n" + answer,
        lambda answer: answer + " and more",
        lambda answer: answer.replace("tool_call>", "response>"),
        lambda answer: answer.replace("</tool_call>", ""),
    ],
)
@pytest.mark.parametrize("compat", [None, "toolrl"])
def test_broken_tags_of_real_answers_cost_the_format(
    dialogues: list[ToolRLTask], compat: str | None, break_reply: Callable[[str], str]
) -> None:
    env = ToolCalling(compat=compat)
    assert not any(env.format(task, break_reply(task.answer)) for task in dialogues if task.calls)
