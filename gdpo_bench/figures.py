"""Writing matplotlib figures to files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gdpo_bench.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture whole or not at all, in the format of the path's ending (PNG without one).

    Raises:
        WriteError: The file cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:] or "png", dpi=150)
    write_atomically(path, picture.getvalue())
