import json
import logging
import socket
from pathlib import Path
from typing import Any, NoReturn

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from gdpo_envs.loading import DATA_VARIABLE, Loaded, Row, Source, SplitFiles, UnusableRowError, load, revision

from gdpo_bench.core import DataError, UnknownNameError

SOURCE = Source(
    hub="acme/sums",
    revision="0123456789abcdef0123456789abcdef01234567",
    splits={"train": SplitFiles("train", "sums/train.jsonl"), "eval": SplitFiles("test", "sums/test-*.parquet")},
    columns={"question": str, "answer": int},
)
ROWS = [{"question": "1+1", "answer": 2, "more": None}, {"question": "\u00e9 \u2028", "answer": 4, "more": "x"}]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sums").mkdir()
    write_lines(tmp_path, *map(json.dumps, ROWS))
    for part, rows in enumerate((ROWS, ROWS[:1])):
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, tmp_path / f"sums/test-{part}.parquet")
    return tmp_path


def write_lines(folder: Path, *lines: str) -> None:
    (folder / "sums/train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pair(row: Row) -> tuple[str, int]:
    if row["answer"] < 0:
        raise UnusableRowError(f"the answer {row['answer']} is negative")
    return row["question"], row["answer"]


def load_train(folder: Path) -> Loaded[tuple[str, int]]:
    return load(SOURCE, "train", pair, folder)


def test_json_lines_are_read_in_order(folder: Path) -> None:
    loaded = load_train(folder)
    assert loaded.rows == [("1+1", 2), ("\u00e9 \u2028", 4)]
    assert (loaded.skipped, loaded.reasons) == (0, ())


def test_parquet_files_that_match_a_pattern_are_read_in_order(folder: Path) -> None:
    assert load(SOURCE, "eval", pair, folder).rows == [("1+1", 2), ("\u00e9 \u2028", 4), ("1+1", 2)]


def test_folder_can_be_named_by_the_environment_and_the_option_wins(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    assert len(load(SOURCE, "train", pair).rows) == 2
    with pytest.raises(DataError, match=r"has no sums/train\.jsonl"):
        load(SOURCE, "train", pair, tmp_path_factory.mktemp("empty"))


def test_reading_leaves_the_folder_and_the_output_as_they_were(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.rglob("*"))
    load_train(folder)
    assert sorted(folder.rglob("*")) == before
    assert capfd.readouterr() == ("", "")
    assert not datasets.are_progress_bars_disabled()


def test_changed_file_is_read_anew(folder: Path) -> None:
    load_train(folder)
    write_lines(folder, '{"question": "2+2", "answer": 4}')
    assert load_train(folder).rows == [("2+2", 4)]


def test_unusable_rows_are_counted_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [{"question": "?", "answer": -n} for n in range(1, 6)] + [{"question": None, "answer": 1}]
    write_lines(folder, *map(json.dumps, [ROWS[0], *bad]))
    with caplog.at_level(logging.WARNING):
        loaded = load_train(folder)
    assert loaded.rows == [("1+1", 2)]
    assert loaded.skipped == 6
    assert loaded.reasons[0] == "row 2: the answer -1 is negative"
    assert "6 of 7 rows cannot be used: row 2: the answer -1 is negative" in caplog.text


def test_missing_value_makes_a_row_unusable(folder: Path) -> None:
    write_lines(folder, '{"question": "1+1", "answer": 2}', '{"question": "?", "answer": null}')
    assert load_train(folder).reasons == ("row 2: 'answer' is missing",)


def test_missing_column_is_named_with_the_file_and_what_is_there(folder: Path) -> None:
    write_lines(folder, '{"question": "1+1", "solution": 2}')
    with pytest.raises(DataError, match=r"train\.jsonl has no column 'answer' \(int\).*question, solution"):
        load_train(folder)


def test_column_of_another_type_is_named_with_file_row_and_value(folder: Path) -> None:
    write_lines(folder, '{"question": "1+1", "answer": "two"}')
    with pytest.raises(DataError, match=r"train\.jsonl, row 1: column 'answer' must hold int; got str 'two'"):
        load_train(folder)


@pytest.mark.parametrize(
    "content",
    [
        b'{"question": "1+1", "answer": 2}\n{"question": oops',
        b'{"question": "1+1", "an',
        b"\xff\xfe\x00",
        b"\x00" * 100,
    ],
    ids=["not JSON", "cut off", "not UTF-8", "zeros"],
)
def test_corrupt_file_is_named(folder: Path, content: bytes) -> None:
    (folder / "sums/train.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.jsonl"):
        load_train(folder)


@pytest.mark.parametrize("keep", [0, 4, 100])
def test_corrupt_parquet_file_is_named(folder: Path, keep: int) -> None:
    file = folder / "sums/test-1.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"test-1\.parquet"):
        load(SOURCE, "eval", pair, folder)


def test_corrupt_file_prints_nothing_beside_the_error(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "sums/train.jsonl").write_bytes(b"{")
    with pytest.raises(DataError):
        load_train(folder)
    assert capfd.readouterr() == ("", "")


def test_empty_file_is_an_error(folder: Path) -> None:
    (folder / "sums/train.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match=r"train\.jsonl"):
        load_train(folder)


def test_missing_file_or_folder_says_what_to_do(folder: Path) -> None:
    (folder / "sums/train.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no sums/train\.jsonl.*--data-dir.*GDPO_BENCH_DATA"):
        load_train(folder)
    with pytest.raises(DataError, match=r"nowhere is not a folder.*--data-dir.*GDPO_BENCH_DATA"):
        load(SOURCE, "train", pair, folder / "nowhere")


def test_without_network_and_folder_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: object, **kwargs: object) -> NoReturn:
        raise ConnectionError("Couldn't reach 'acme/sums' on the Hub") from OSError("no network in this test")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    expected = r"Cannot load acme/sums .*hub: OSError: no network.*Go online.*--data-dir.*GDPO_BENCH_DATA"
    with pytest.raises(DataError, match=expected):
        load(SOURCE, "train", pair)


def test_hub_is_asked_for_the_pinned_revision_and_rows_go_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> datasets.Dataset:
        asked.append((args, kwargs))
        return datasets.Dataset.from_list([*ROWS, {"question": "?", "answer": -1, "more": None}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = load(SOURCE, "eval", pair)
    assert asked == [(("acme/sums", None), {"revision": SOURCE.revision, "split": "test"})]
    assert loaded.rows == [("1+1", 2), ("\u00e9 \u2028", 4)]
    assert loaded.skipped == 1
    assert loaded.revision == f"acme/sums@{SOURCE.revision}"


def test_unknown_split_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'tran'.*Did you mean 'train'"):
        load(SOURCE, "tran", pair, folder)


def test_local_revision_depends_on_the_contents_alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("copy") / "data"
    copy.mkdir()
    (copy / "sums").mkdir()
    for file in (folder / "sums").iterdir():
        (copy / "sums" / file.name).write_bytes(file.read_bytes())
    first = revision(SOURCE, folder)
    assert first.startswith("local:")
    assert revision(SOURCE, copy) == first == load_train(folder).revision
    write_lines(copy, '{"question": "2+2", "answer": 4}')
    assert revision(SOURCE, copy) != first


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "[]"])
def test_file_without_rows_says_so(text: str, folder: Path) -> None:
    (folder / "sums/train.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl holds no rows\.$"):
        load_train(folder)


def test_column_of_nulls_is_refused_by_name(folder: Path) -> None:
    write_lines(folder, *[json.dumps({"question": None, "answer": i}) for i in range(3)])
    with pytest.raises(DataError, match="none of the 3 rows that were read has a value in 'question'"):
        load_train(folder)


def test_byte_order_mark_is_passed_over(folder: Path) -> None:
    write_lines(folder, "\ufeff" + json.dumps(ROWS[0]))
    assert load_train(folder).rows == [("1+1", 2)]
