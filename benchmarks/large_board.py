"""A board of thousands, made from ours, and what commands take on it.

    python benchmarks/large_board.py --entries 2000

Entries are copies of the committed ones with other names, options and ways of training, under the ids that follow, each
beside its sidecar. They claim nothing: their author is `copy`. The folder is a git checkout, so that `validate --base`
has something to compare with, and one entry more is added after the commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from gdpo_bench.leaderboard.files.entries import content_id, entry_fields, entry_text, parse_entry
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.files.sidecar import sidecar_path
from gdpo_bench.leaderboard.files.store import Board, entry_path

BOARD = Path(__file__).parents[1] / "leaderboards"


def copies(entries: Sequence[Entry], count: int) -> Iterator[tuple[Entry, Entry]]:
    """(original, copy), so many, round after round: new normalizers in even rounds, new ways of training in odd ones.

    Args:
        entries: With sidecars.
        count: How many.
    """
    for i in range(count):
        original, around = entries[i % len(entries)], i // len(entries)
        fields = entry_fields(original)
        if around % 2 and original.training is not None:
            fields["training"]["learning_rate"] *= 1 + around / 1000
        elif around:
            fields["normalizer"]["name"] += f"_{around}"
        fields["provenance"]["author"], fields["supersedes"] = "copy", None
        yield original, parse_entry(_text(fields))


def _text(fields: dict[str, Any]) -> str:
    draft = fields | {"id": content_id(fields)}
    return entry_text(Entry.model_validate(draft))


def grow(out: Path, count: int, board: Path = BOARD) -> list[Path]:
    """Write a board of copies; returns their files.

    Args:
        out: Folder of the board.
        count: Entries.
        board: What is copied.
    """
    known = Board.read(board).current()
    files = []
    for original, copy in copies([entry for entry in known if entry.sidecar is not None], count):
        file = entry_path(copy, out)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(entry_text(copy))
        shutil.copyfile(sidecar_path(entry_path(original, board), original.id), sidecar_path(file, copy.id))
        files.append(file)
    return files


def main(entries: int = 2000, folder: Path | None = None) -> None:
    """Make a board, and time what is done with it.

    Args:
        entries: How many.
        folder: Where; a temporary folder if absent.
    """
    with tempfile.TemporaryDirectory() as temporary:
        where = folder or Path(temporary)
        root = where / "leaderboards"
        *_, last = files = grow(root, entries + 1)
        kept = last.read_text(), sidecar_path(last, last.stem).read_bytes()
        last.unlink()
        sidecar_path(last, last.stem).unlink()
        for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "board"]):
            subprocess.run(
                ["git", "-c", "user.name=copy", "-c", "user.email=copy@localhost", *command], cwd=where, check=True
            )
        last.write_text(kept[0])
        sidecar_path(last, last.stem).write_bytes(kept[1])
        for arguments in (
            ["validate", "--base", "main"],
            ["compare", *[next(file.stem for file in files if "training" in file.parts)] * 2],
            ["table"],
            ["html", "--out", "page.html"],
            ["validate"],
        ):
            before, start = _cpu_s(), time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "gdpo_bench.leaderboard", *arguments],
                cwd=where,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            print(f"{' '.join(arguments):40} {_cpu_s() - before:6.1f} s of CPU, {time.perf_counter() - start:6.1f} s")
        details = list((where / "page-details").glob("*.html"))
        largest = max((file.stat().st_size for file in details), default=0)
        page = (where / "page.html").stat().st_size
        print(f"page.html {page / 1e6:.2f} MB, {len(details):,} files, at most {largest / 1e6:.2f} MB")


def _cpu_s() -> float:
    taken = os.times()
    return taken.children_user + taken.children_system


if __name__ == "__main__":
    tyro.cli(main)
