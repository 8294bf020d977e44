"""What coding data need of the loader: compressed, one list, folders, streamed, in two layouts."""

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError, load, revision

from gdpo_bench.core import DataError

ROWS = [{"name": f"n{i}", "size": i, "parts": [{"role": "user", "content": str(i)}]} for i in range(5)]


def source(local: str | tuple[str, ...], hub: str = "test", **options: Any) -> Source:
    return Source("acme/x", "0" * 40, {"eval": SplitFiles(hub, local)}, {"name": str, "size": int}, **options)


def name(row: Row) -> str:
    return str(row["name"])


def test_compressed_lines_are_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "x.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    assert load(source("x.jsonl*"), "eval", name, tmp_path).rows == ["n0", "n1", "n2", "n3", "n4"]


def test_cut_off_compressed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b'{"name": "a", "size": 1}\n' * 1000)[:40])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz"):
        load(source("x.jsonl*"), "eval", name, tmp_path)


def test_one_list_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(ROWS, indent=2))
    assert load(source("x.json"), "eval", name, tmp_path).rows == ["n0", "n1", "n2", "n3", "n4"]


def test_folders_are_rows_of_their_files_texts(tmp_path: Path) -> None:
    for i in (2, 1):
        (tmp_path / f"x/{i}").mkdir(parents=True)
        (tmp_path / f"x/{i}/question.txt").write_text(f"é {i}", encoding="utf-8")
        (tmp_path / f"x/{i}/more.json").write_text("[]")
    (tmp_path / "x/SOURCE.txt").write_text("not a row")
    folders = Source("acme/x", "0" * 40, {"eval": SplitFiles("test", "x/*/")}, {"question": str})
    assert load(folders, "eval", dict, tmp_path).rows == [
        {"question": "é 1", "more": "[]"},
        {"question": "é 2", "more": "[]"},
    ]
    before = revision(folders, tmp_path)
    (tmp_path / "x/1/more.json").write_text("[1]")
    assert revision(folders, tmp_path) != before


def test_folder_without_a_needed_file_is_unusable(tmp_path: Path) -> None:
    for i, file in enumerate(("question.txt", "other.txt")):
        (tmp_path / f"x/{i}").mkdir(parents=True)
        (tmp_path / f"x/{i}/{file}").write_text("?")
    folders = Source("acme/x", "0" * 40, {"eval": SplitFiles("test", "x/*/")}, {"question": str})
    loaded = load(folders, "eval", dict, tmp_path)
    assert (loaded.rows, loaded.reasons) == ([{"question": "?"}], ("row 2: 'question' is missing",))


@pytest.mark.parametrize("text", ["", "\n\n", "[]", "{}\n{}\n", "[{}, {}]", "\ufeff"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_file_of_nothing_holds_no_rows(tmp_path: Path, text: str, streaming: bool) -> None:
    (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.jsonl holds no rows"):
        load(source("x.jsonl", streaming=streaming), "eval", name, tmp_path)


@pytest.mark.parametrize("text", ["null\n", 'null\n{"name": "a", "size": 1}\n', "\ufeff null"])
def test_a_first_row_that_is_null_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.jsonl: the first row is null"):
        load(source("x.jsonl"), "eval", name, tmp_path)


def test_a_row_with_a_field_of_another_shape_is_left_out_and_without_others_named(tmp_path: Path) -> None:
    def first_part(row: Row) -> str:
        return str(row["parts"][0]["role"])

    wrong: list[Any] = [None, [], [None], [{"content": "x"}]]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({**ROWS[0], "parts": part}) + "\n" for part in wrong))
    with pytest.raises(DataError, match=r"none of the 4 rows can be used: row 1: a field is not as expected"):
        load(source("x.jsonl", streaming=True), "eval", first_part, tmp_path)
    with (tmp_path / "x.jsonl").open("a") as file:
        file.write(json.dumps(ROWS[1]) + "\n")
    loaded = load(source("x.jsonl", streaming=True), "eval", first_part, tmp_path)
    assert (loaded.rows, loaded.skipped) == (["user"], 4)


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "x/1").mkdir(parents=True)
    (tmp_path / "x/1/question.txt").write_text("\ufeffé", encoding="utf-8")
    folders = Source("acme/x", "0" * 40, {"eval": SplitFiles("test", "x/*/")}, {"question": str})
    assert load(folders, "eval", dict, tmp_path).rows == [{"question": "é"}]


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "x/1").mkdir(parents=True)
    (tmp_path / "x/1/question.txt").write_bytes(b"\xff")
    folders = Source("acme/x", "0" * 40, {"eval": SplitFiles("test", "x/*/")}, {"question": str})
    with pytest.raises(DataError, match=r"question\.txt"):
        load(folders, "eval", dict, tmp_path)


def test_first_pattern_that_finds_anything_counts(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(ROWS[1:2]))
    patterns = source(("a.json", "b.json"))
    assert load(patterns, "eval", name, tmp_path).rows == ["n1"]
    (tmp_path / "a.json").write_text(json.dumps(ROWS[:1]))
    assert load(patterns, "eval", name, tmp_path).rows == ["n0"]
    with pytest.raises(DataError, match=r"has no c\.json or d\.json"):
        load(source(("c.json", "d.json")), "eval", name, tmp_path)


@pytest.mark.parametrize("file", ["x.parquet", "x.jsonl"])
def test_streamed_rows_are_the_same_and_reading_stops_early(file: str, tmp_path: Path) -> None:
    if file.endswith("parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / file, row_group_size=2)
    else:
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    streamed = source("x.*", streaming=True)
    assert load(streamed, "eval", dict, tmp_path).rows == load(source("x.*"), "eval", dict, tmp_path).rows == ROWS
    read: list[str] = []
    assert load(streamed, "eval", lambda row: read.append(row["name"]) or row["name"], tmp_path, at_most=2).rows == [
        "n0",
        "n1",
    ]
    assert read == ["n0", "n1"]


def test_corrupt_streamed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"x\.parquet"):
        load(source("x.*", streaming=True), "eval", name, tmp_path)


def test_rows_that_are_not_meant_are_neither_used_nor_counted(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(ROWS))

    def odd(row: Row) -> str | None:
        if row["size"] == 3:
            raise UnusableRowError("three")
        return name(row) if row["size"] % 2 else None

    loaded = load(source("x.json"), "eval", odd, tmp_path)
    assert (loaded.rows, loaded.skipped) == (["n1"], 1)


def test_other_layout_is_accepted_and_its_types_are_checked(tmp_path: Path) -> None:
    old = source("x.json", other_columns=({"title": str},))
    (tmp_path / "x.json").write_text('[{"title": "a"}, {"title": null}]')
    loaded = load(old, "eval", lambda row: row["title"], tmp_path)
    assert (loaded.rows, loaded.reasons) == (["a"], ("row 2: 'title' is missing",))
    (tmp_path / "x.json").write_text('[{"title": 1}]')
    with pytest.raises(DataError, match="column 'title' must hold str; got int 1"):
        load(old, "eval", name, tmp_path)
    (tmp_path / "x.json").write_text('[{"label": 1}]')
    with pytest.raises(DataError, match="no column 'name'"):
        load(old, "eval", name, tmp_path)


def test_hub_is_asked_to_stream_or_for_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDPO_BENCH_DATA", raising=False)
    asked: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        found = datasets.Dataset.from_list(ROWS)
        return found.to_iterable_dataset() if kwargs.get("streaming") else found

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load(source("x", streaming=True), "eval", name).rows) == 5
    assert len(load(source("x", hub="test.jsonl"), "eval", name).rows) == 5
    pinned = "hf://datasets/acme/x@" + "0" * 40
    assert asked == [
        (("acme/x", None), {"revision": "0" * 40, "split": "test", "streaming": True}),
        (("json",), {"data_files": f"{pinned}/test.jsonl", "split": "train"}),
    ]
