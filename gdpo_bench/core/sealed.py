"""Folders that are read back: sealed with the hashes of their files, flushed to the disk before they get their name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from pathlib import Path

import psutil

from gdpo_bench.core.files import sync_folder

SEAL = "sha256.json"
"""The file of a folder that holds the hashes of the others."""


def part_name(name: str) -> str:
    """Name for a folder that is being written, by which leftovers of killed processes are known."""
    return f".{name}.{socket.gethostname()}-{os.getpid()}.part"


def remove_leftovers(root: Path) -> None:
    """Remove folders that processes of this machine were writing when they were killed."""
    for path in root.glob(".*.part"):
        host, _, process = path.name.removesuffix(".part").rpartition(".")[2].rpartition("-")
        if host == socket.gethostname() and process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write the hashes of all files of a folder into it, and flush everything to the disk."""
    (folder / SEAL).write_text(json.dumps(_hashes(folder), indent=1), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in a few words; None where it is as it was sealed."""
    try:
        expected = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        found = _hashes(folder)
    except (OSError, ValueError, RecursionError) as error:
        return f"{SEAL}: {error}"
    if not isinstance(expected, dict) or not expected:
        return f"{SEAL} holds no hashes"
    changed = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return f"{', '.join(changed)} changed, cut off or missing" if changed else None


def _hashes(folder: Path) -> dict[str, str]:
    """File → SHA-256."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != SEAL:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
