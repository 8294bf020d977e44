"""Writing files so that an interruption or a full disk never leaves half of one."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gdpo_bench.core.errors import GdpoBenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class WriteError(GdpoBenchError, OSError):
    """A file could not be written; what stood there before still does."""


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a whole file or nothing, creating missing folders.

    The content goes into a temporary file beside `path`, is flushed to the disk, and takes the
    name in one step. A reader sees the old file or the new one; of two writers at once the last
    to finish wins. A killed process leaves at most a file whose name starts with a dot and
    ends with `.tmp`.

    Args:
        path: The file to write.
        content: Its whole content; text is written as UTF-8 with line ends as they are.

    Raises:
        WriteError: Disk full, no permission, a folder in place of the file, and so on.
    """
    _write(Path(path), content, os.replace)


def write_figure(path: str | os.PathLike[str], figure: Figure) -> None:
    """Write a picture whole or not at all, in the format of the path's ending (PNG without one).

    Raises:
        WriteError: The file cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:] or "png", dpi=150)
    write_atomically(path, picture.getvalue())


def create_atomically(path: str | os.PathLike[str], content: str | bytes) -> bool:
    """Write a whole file that is not there yet, creating missing folders.

    Like `write_atomically`, but of two writers at once the first one wins.

    Args:
        path: The file to write.
        content: Its whole content; text is written as UTF-8 with line ends as they are.

    Returns:
        Whether it was written; a file that is there already stays as it is.

    Raises:
        WriteError: Disk full, no permission, and so on.
    """
    try:
        _write(Path(path), content, _link)
    except _TakenError:
        return False
    return True


class _TakenError(Exception):
    """The name belongs to a file already."""


def _link(temporary: Path, path: Path) -> None:
    """Give a file its second name, which unlike its first one must be new."""
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise _TakenError from error
    except OSError as error:  # a file system without links: there two writers could meet between these lines
        if path.exists():
            raise _TakenError from error
        os.replace(temporary, path)


def _write(path: Path, content: str | bytes, give_name: Callable[[Path, Path], None]) -> None:
    data = content.encode("utf-8") if isinstance(content, str) else content
    # The name is drawn here, not by `tempfile`, whose files are unreadable for others.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        give_name(temporary, path)
    except OSError as error:
        kept = "the old file is unchanged" if path.is_file() else "nothing was written"
        raise WriteError(f"Cannot write {path}: {error.strerror or error}; {kept}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove(path: Path) -> None:
    """Remove a file, a folder with all in it, or a link but not what it leads to; nothing where there is none.

    Raises:
        OSError: It cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make sure that names given in a folder outlive a power failure, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
