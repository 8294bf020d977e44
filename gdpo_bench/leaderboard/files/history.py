"""What git says of a board's files: entries that were committed once must stay as they were."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from gdpo_bench.core.errors import DataError

_IMMUTABLE = re.compile(r"[0-9a-f]{16}(\.attested-[0-9a-f]{16})?\.json(\.gz)?")
_WORDS = {"M": "was changed", "D": "was deleted", "T": "became something else"}


def broken_promises(root: Path, base: str) -> list[str] | None:
    """Entries, sidecars and attestations of a commit that differ now, committed or not.

    Args:
        root: The board's folder.
        base: Commit, branch or tag to compare with.

    Returns:
        A sentence for each; `None` where there is no git, or the folder is in no checkout.

    Raises:
        DataError: There is no such commit.
    """
    changed = _changed(root, base)
    if changed is None:
        return None
    return [
        f"{path}: It {_WORDS.get(status, 'was changed')} since {base}. Entries are immutable: restore it, and "
        "submit a correction that supersedes it."
        for path, status in changed.items()
        if status != "A" and _IMMUTABLE.fullmatch(path.name)
    ]


def unchanged_files(root: Path, base: str) -> set[Path] | None:
    """Files under a folder that are as they were at a commit, by git's word; `None` as for `broken_promises`.

    Raises:
        DataError: There is no such commit.
    """
    committed, changed = committed_files(root, base), _changed(root, base)
    return None if committed is None or changed is None else committed - changed.keys()


def committed_files(root: Path, base: str) -> set[Path] | None:
    """Files under a folder that were there at a commit; `None` where there is no git, or the folder is in no checkout.

    Raises:
        DataError: There is no such commit.
    """
    start = _start(root, base)
    if start is None:
        return None
    return {root / name for name in _git(root, "ls-tree", "-r", "-z", "--name-only", start, "--", ".").split("\0")}


def _changed(root: Path, base: str) -> dict[Path, str] | None:
    """File → git's letter for what became of it since a commit; files that git does not know are missing."""
    start = _start(root, base)
    if start is None:
        return None
    told = _git(root, "diff", "--name-status", "--no-renames", "--relative", "-z", start, "--", ".").split("\0")
    return {root / path: status for status, path in zip(told[::2], told[1::2], strict=False)}


def _start(root: Path, base: str) -> str | None:
    """Where the branches parted: what others filed on the base meanwhile is not missing here."""
    try:
        _git(root, "rev-parse", "--show-toplevel")
    except (OSError, subprocess.SubprocessError):
        return None
    try:
        commit = _git(root, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}").strip()
    except subprocess.SubprocessError as error:
        raise DataError(f"There is no commit {base} here to compare with; fetch it, or name another one.") from error
    return _git(root, "merge-base", commit, "HEAD").strip()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
