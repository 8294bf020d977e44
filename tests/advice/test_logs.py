"""Reward vectors from the logs of other trainers."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from gdpo_bench.advice import RecordedRewards, read_log
from gdpo_bench.core.errors import DataError

PLAIN: list[dict[str, Any]] = [
    {"group": "q1", "rewards": {"correct": 1, "format": 0.5}},
    {"group": "q1", "rewards": {"correct": False, "format": None}},
    {"group": ["q", 2], "rewards": {"correct": 0}},
    {"group": ["q", 2], "rewards": {"format": 1.0, "correct": float("nan")}},
]


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plain_log_is_read(tmp_path: Path) -> None:
    recorded = read_log(write(tmp_path / "log.jsonl", lines(PLAIN) + "\n"))
    assert recorded.names == ("correct", "format")
    assert recorded.groups.tolist() == [0, 0, 1, 1]
    np.testing.assert_equal(recorded.values, [[1, 0.5], [0, math.nan], [0, math.nan], [math.nan, 1]])
    assert recorded.scale[0].tolist() == [0, 0.5]
    assert recorded.scale[1].tolist() == [1, 1]


def test_it_may_be_compressed_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(("\ufeff" + lines(PLAIN)).encode()))
    np.testing.assert_equal(read_log(path).values, read_log(write(tmp_path / "log.jsonl", lines(PLAIN))).values)


def test_what_verl_dumps_is_read(tmp_path: Path) -> None:
    """A step's prompts are groups; `score` is the total; texts beside it are no rewards."""
    shared = {"output": "…", "gts": "3", "step": 7}
    records = [
        {"input": "a", "score": 2.0, "correctness": 2.0, "format": 0, "pred": "3"} | shared,
        {"input": "a", "score": 1.0, "correctness": 0.0, "format": 1, "pred": "4"} | shared,
        {"input": "b", "score": 0.0, "correctness": 0.0, "format": 0, "pred": ""} | shared,
    ]
    recorded = read_log(write(tmp_path / "7.jsonl", lines(records)))
    assert recorded.names == ("correctness", "format")
    assert recorded.groups.tolist() == [0, 0, 1]
    totals = [{key: record[key] for key in ("input", "output", "score", "step")} for record in records]
    assert read_log(write(tmp_path / "8.jsonl", lines(totals))).names == ("score",)


def test_what_trl_logs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "completions_00001.parquet"
    chat = [{"role": "user", "content": "2+2?"}]
    table = pyarrow.table(
        {
            "step": [1, 1, 2, 2],
            "prompt": [chat, chat, chat, chat],
            "completion": ["4", "5", "4", "4"],
            "correct": [1.0, 0.0, 1.0, None],
            "short": [True, False, True, True],
            "advantage": [1.0, -1.0, 0.0, 0.0],
        }
    )
    pyarrow.parquet.write_table(table, path)
    recorded = read_log(path)
    assert recorded.names == ("correct", "short")
    assert recorded.groups.tolist() == [0, 0, 1, 1]
    np.testing.assert_equal(recorded.values[:, 0], [1, 0, 1, math.nan])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("[1]\n", "line 1: expected a JSON object; got list"),
        ('{"group": 1,\n', "line 1: expected a JSON object"),
        ('{"rewards": {"a": 1}}\n', 'line 1: expected {"group"'),
        ('{"group": 1, "rewards": [1]}\n', 'line 1: expected {"group"'),
        ('{"group": 1, "rewards": {"a": "x"}}\n', "line 1, a: a reward must be a number or null; got 'x'"),
        ('{"group": 1, "rewards": {"a": 1e999}}\n', "line 1, a: a reward must be finite"),
        ('{"group": 1, "rewards": {"a": 1' + "0" * 400 + "}}\n", "line 1, a: a reward must be finite"),
        ('{"group": 1, "rewards": {}}\n', "holds no rewards"),
        ('{"group": 1, "rewards": {"a": 1}}\n{"group": 2, "rewards": {"a": 1}}\n', "is a group of its own"),
        ('{"task_id": "t", "replies": ["a", "b"]}\n', "--env ID"),
        ('{"prompt": "t"}\n', "its keys are prompt"),
    ],
)
def test_what_is_no_log_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_log(write(tmp_path / "log.jsonl", text))
    assert message in str(caught.value)


def test_files_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"\xff\xfe")
    (tmp_path / "log.gz").write_bytes(gzip.compress(lines(PLAIN).encode())[:-12])
    (tmp_path / "log.parquet").write_text("no parquet")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "other.parquet")
    for name, message in {
        "log.jsonl": "expected UTF-8",
        "log.gz": "Cannot read",
        "log.parquet": "as parquet",
        "other.parquet": "got text",
        "missing.jsonl": "No such file",
    }.items():
        with pytest.raises(DataError, match=message):
            read_log(tmp_path / name)


def test_other_lines_are_read_by_a_mapping(tmp_path: Path) -> None:
    records = [
        {"id": 7, "scores": {"acc": 1, "fmt": 0}},
        {"id": 7, "scores": {"acc": 0}},
        {"id": 8, "scores": None},
    ]
    path = write(tmp_path / "log.jsonl", lines(records))
    recorded = read_log(path, {"group": "id", "correct": "scores.acc", "format": "scores.fmt"})
    np.testing.assert_equal(recorded.values, [[1, 0], [0, math.nan], [math.nan, math.nan]])
    assert recorded.groups.tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="line 1: no 'prompt', which is to name the group; its keys are id, scores"):
        read_log(path, {"group": "prompt", "correct": "scores.acc"})
    with pytest.raises(DataError, match="needs `group` and at least one reward"):
        read_log(path, {"correct": "scores.acc"})


def test_several_files_are_one_record_with_groups_apart(tmp_path: Path) -> None:
    first = read_log(write(tmp_path / "a.jsonl", lines(PLAIN)))
    swapped = [record | {"rewards": dict(reversed(record["rewards"].items()))} for record in PLAIN]
    second = read_log(write(tmp_path / "b.jsonl", lines(swapped[::-1])))
    both = RecordedRewards.together([first, second])
    assert both.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_equal(both.values[4:], first.values[::-1])
    with pytest.raises(DataError, match="hold other rewards"):
        RecordedRewards.together([first, second.selected(["correct"])])


def test_ranges_of_rewards_that_never_varied_hold_them() -> None:
    values = np.array([[0.3, 5.0, -2.0, math.nan]] * 2)
    recorded = RecordedRewards(("a", "b", "c", "d"), values, np.zeros(2, dtype=np.int64))
    lows, highs = recorded.scale
    assert list(zip(lows.tolist(), highs.tolist(), strict=True)) == [(0, 1), (4, 5), (-2, -1), (0, 1)]


CHATS: list[dict[str, Any]] = [
    {"messages": [*asked, {"role": "assistant", "content": text}], "rewards": {"correct": right, "short": 1 - right}}
    for asked in (
        [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1=?"}],
        [{"role": "system", "content": "Add."}, {"role": "user", "content": [{"type": "text", "text": "1+2=?"}]}],
    )
    for text, right in (("2", 1), ("3", 0))
]


def test_chats_that_ask_the_same_are_a_group(tmp_path: Path) -> None:
    recorded = read_log(write(tmp_path / "chats.jsonl", lines(CHATS)))
    assert recorded.names == ("correct", "short")
    assert recorded.groups.tolist() == [0, 0, 1, 1]
    assert recorded.values.tolist() == [[1, 0], [0, 1]] * 2
    named = [chat | {"group": n} for chat, n in zip(CHATS, (5, 6, 5, 6), strict=True)]
    assert read_log(write(tmp_path / "chats.jsonl", lines(named))).groups.tolist() == [0, 1, 0, 1]


def test_rewards_of_chats_may_stand_elsewhere(tmp_path: Path) -> None:
    logged = [{"messages": chat["messages"], "eval": {"acc": chat["rewards"]["correct"]}, "id": 1} for chat in CHATS]
    path = write(tmp_path / "chats.jsonl", lines(logged))
    recorded = read_log(path, {"correct": "eval.acc"})
    assert (recorded.names, recorded.groups.tolist()) == (("correct",), [0, 0, 1, 1])
    assert read_log(path, {"group": "id", "correct": "eval.acc"}).groups.tolist() == [0, 0, 0, 0]
    with pytest.raises(DataError, match=r"line 1: a chat without rewards; .*--map .*--env ID"):
        read_log(path)
