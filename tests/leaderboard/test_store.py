import errno
import os
import threading

import pytest

from gdpo_bench.core import DataError, files
from gdpo_bench.core.files import WriteError
from gdpo_bench.leaderboard import EntryError, entry_text
from gdpo_bench.leaderboard.files.store import Board, board_of, read_entry, read_filed_entry, read_measured, superseding


def test_an_entry_lies_where_its_track_environment_and_id_say(tmp_path, entry):
    one = entry()
    path = Board(tmp_path).file(one)
    assert path == tmp_path / "training" / "gdpo" / "TestMini-v0" / f"{one.id}.json"
    assert read_entry(path) == one
    assert Board.read(tmp_path).entries == {one.id: one}


def test_an_entry_of_another_librarys_environment_lies_as_deep(tmp_path, entry):
    path = Board(tmp_path).file(entry(environment="reasoning_gym:syllogism"))
    assert path.parent == tmp_path / "training/reasoning_gym/syllogism"
    assert board_of(path) == tmp_path


def test_filing_the_same_result_twice_changes_nothing(tmp_path, entry, make_provenance):
    path = Board(tmp_path).file(entry())
    before = path.read_bytes()
    assert Board.read(tmp_path).file(entry(provenance=make_provenance(author="somebody else"))) is None
    assert path.read_bytes() == before


def test_equal_entries_are_equal_files(tmp_path, entry):
    one, other = Board(tmp_path / "a").file(entry()), Board(tmp_path / "b").file(entry())
    assert one.read_bytes() == other.read_bytes()


def damage(path, how):
    text = path.read_text()
    if how == "truncated":
        path.write_text(text[: len(text) // 2])
    elif how == "edited":
        path.write_text(text.replace('"eps": 1e-06', '"eps": 1e-05'))
    elif how == "misnamed":
        path.rename(path.with_name("best.json"))
    elif how == "misplaced":
        path.rename(path.parents[1] / path.name)
    elif how == "future":
        path.write_text(text.replace('"schema_version": 1', '"schema_version": 7'))
    elif how == "incomplete":
        path.write_text(text.replace('"author": "somebody",', ""))
    elif how == "binary":
        path.write_bytes(b"\x1f\x8b\x08\x00")
    elif how == "empty":
        path.write_text("")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", r"Not JSON: line \d+"),
        ("edited", "The id .* does not follow from the content"),
        (
            "misnamed",
            r"best.json: Wrong name or place; this entry belongs to .*training/gdpo/TestMini-v0/[0-9a-f]{16}.json",
        ),
        ("misplaced", "Wrong name or place"),
        ("future", "Written by a newer gdpo-bench"),
        ("incomplete", "provenance.author: Field required"),
        ("binary", r"Not text in UTF-8 \(byte 1\)"),
        ("empty", "cut off"),
    ],
)
def test_each_kind_of_damage_is_named_and_costs_no_other_entry(tmp_path, entry, how, message):
    board = Board(tmp_path)
    whole = entry("grpo")
    board.file(whole)
    damage(board.file(entry()), how)
    read = Board.read(tmp_path)
    assert list(read.entries.values()) == [whole]
    with pytest.raises(EntryError, match=message):
        raise EntryError(*read.problems)


def test_a_folder_or_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        Board.read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nothing.json: No such file"):
        read_entry(tmp_path / "nothing.json")


def test_an_entry_lies_beside_its_sidecar_and_is_not_filed_without(tmp_path, measured):
    one, other = measured(), measured(luck=1)
    path = Board(tmp_path).file(one.entry, one.sidecar)
    assert sorted(file.name for file in path.parent.iterdir()) == [f"{one.entry.id}.json", f"{one.entry.id}.json.gz"]
    assert read_measured(path).entry == one.entry
    for wrong in (None, one.sidecar):
        with pytest.raises(EntryError, match="cannot be filed without its own sidecar"):
            Board(tmp_path).file(other.entry, wrong)
    assert len(list(path.parent.iterdir())) == 2


def test_of_two_people_with_the_same_result_the_first_one_stays(tmp_path, measured, make_provenance):
    first, second = (measured(provenance=make_provenance(author=name)) for name in ("Ada", "Grace"))
    boards = [Board(tmp_path), Board(tmp_path)]  # both read before either filed
    path = boards[0].file(first.entry, first.sidecar)
    before = path.read_bytes()
    assert boards[1].file(second.entry, second.sidecar) is None
    assert path.read_bytes() == before


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_full_disk_leaves_no_entry_without_its_sidecar(tmp_path, measured, monkeypatch, step):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    one = measured()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, step, full)
        patch.setattr(files.os, "replace", full)
        with pytest.raises(WriteError, match="No space left on device"):
            Board(tmp_path).file(one.entry, one.sidecar)
    assert Board.read(tmp_path).entries == {}
    path = Board(tmp_path).file(one.entry, one.sidecar)  # and again, when there is room
    assert read_measured(path).entry == one.entry


def test_an_entry_supersedes_the_current_one_of_its_configuration(tmp_path, measured):
    board, old, new = Board(tmp_path), measured(), measured(luck=1)
    board.file(old.entry, old.sidecar)
    other = measured("grpo", luck=1)
    assert superseding(other.entry, board) == other.entry
    longer = new.entry.model_copy(update={"training": {"steps": 99}})
    assert superseding(longer, board) == longer
    known_better = new.entry.model_copy(update={"training": (new.entry.training or {}) | {"epochs": 1}})
    assert superseding(known_better, board).supersedes == old.entry.id
    moved = new.entry.model_copy(update={"training": (new.entry.training or {}) | {"adam_beta2": 0.999}})
    assert superseding(moved, board) == moved  # the old one, which does not name it, had 0.95
    found = superseding(new.entry, board)
    assert (found.supersedes, found.id) == (old.entry.id, new.entry.id)
    board.file(found, new.sidecar)
    assert [entry.id for entry in board.current()] == [new.entry.id]
    assert superseding(measured(luck=2).entry, board).supersedes == new.entry.id
    second = measured(luck=3)
    board.file(second.entry, second.sidecar)
    with pytest.raises(EntryError, match="could supersede any of"):
        superseding(measured(luck=4).entry, board)


def test_a_full_disk_loses_nothing_and_says_so(tmp_path, entry, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    board = Board(tmp_path)
    board.file(entry())
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        board.file(entry("grpo"))
    assert Board.read(tmp_path).entries.keys() == {entry().id} == board.entries.keys()
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_a_killed_writer_leaves_is_ignored(tmp_path, entry):
    path = Board(tmp_path).file(entry())
    path.with_name(f".{path.name}.1-abcd.tmp").write_text("{")
    path.with_name(".half.json").write_text("{")
    assert not Board.read(tmp_path).problems


def test_two_writers_at_once_file_one_whole_entry(tmp_path, entry):
    one = entry()
    writers = [threading.Thread(target=Board(tmp_path).file, args=(one,)) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path.read_text() == entry_text(one)


def test_a_correction_hides_what_it_corrects_and_keeps_it(tmp_path, entry):
    board = Board(tmp_path)
    wrong = entry(finals=(0.1, 0.1))
    board.file(wrong)
    right = entry(supersedes=wrong.id)
    board.file(right)
    read = Board.read(tmp_path)
    assert read.current() == [right]
    assert set(read.entries) == {wrong.id, right.id}
    assert not read.problems


def test_a_correction_of_something_that_is_not_there_is_refused(tmp_path, entry):
    with pytest.raises(EntryError, match="supersedes 0123456789abcdef, which is not in the same folder"):
        Board(tmp_path).file(entry(supersedes="0123456789abcdef"))
    board = Board(tmp_path)
    board.file(entry(environment="gdpo/OtherMini-v0"))
    with pytest.raises(EntryError, match="not in the same folder"):
        board.file(entry(supersedes=next(iter(board.entries))))


def test_deleting_a_corrected_entry_is_noticed(tmp_path, entry):
    board = Board(tmp_path)
    path = board.file(entry(finals=(0.1, 0.1)))
    board.file(entry(supersedes=path.stem))
    path.unlink()
    assert "which is not in the same folder" in Board.read(tmp_path).problems[0]


def test_the_board_of_a_part_is_found_by_the_names_above_it(tmp_path, entry):
    path = Board(tmp_path).file(entry())
    for part in (path, path.parent, path.parents[1], path.parents[2]):
        assert board_of(part) == tmp_path
        assert board_of(tmp_path) is None
    assert read_filed_entry(path, board_of(path)) == entry()
