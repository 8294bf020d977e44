import errno
import os
import threading

import pytest

from gdpo_bench.core import files
from gdpo_bench.core.files import WriteError, create_atomically, write_atomically


def test_text_and_bytes_are_written_as_they_are_into_new_folders(tmp_path):
    write_atomically(tmp_path / "a" / "b.txt", "σ\r\nend\n")
    write_atomically(tmp_path / "a" / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "σ\r\nend\n".encode()
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b.txt", "c.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, step):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "result.json"
    write_atomically(target, "old")
    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(WriteError, match=r"No space left on device; the old file is unchanged"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_that_stops_halfway_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    target = tmp_path / "result.json"
    write_atomically(target, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # the kernel refuses to let files grow further
    try:
        with pytest.raises(WriteError, match="File too large"):
            write_atomically(target, "x" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_in_place_of_the_file_is_an_error_with_its_name(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(WriteError, match=r"taken.*nothing was written"):
        write_atomically(tmp_path / "taken", "text")


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    target = tmp_path / "result.txt"
    texts = [str(n) * 100_000 for n in range(8)]
    writers = [threading.Thread(target=write_atomically, args=(target, text)) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert target.read_text() in texts
    assert list(tmp_path.iterdir()) == [target]


def test_of_many_creators_one_wins_and_its_file_stays(tmp_path):
    target = tmp_path / "new" / "entry.json"
    won = []
    writers = [
        threading.Thread(target=lambda n=n: won.append((n, create_atomically(target, f"{n}")))) for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (winner,) = [n for n, created in won if created]
    assert target.read_text() == str(winner)
    assert not create_atomically(target, "later")
    assert target.read_text() == str(winner)
    assert list(target.parent.iterdir()) == [target]


def test_creating_works_without_links_too(tmp_path, monkeypatch):
    def unsupported(*_args):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(files.os, "link", unsupported)
    assert create_atomically(tmp_path / "a", "first")
    assert not create_atomically(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first"
