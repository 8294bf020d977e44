"""Which file of the page holds what, and how one leads to another: beside each other, in a folder, from `file://`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.show.page.views import Group

_CARDS = 100
"""Entries whose details one file holds."""


@dataclass(frozen=True)
class Places:
    """Files by their paths below the folder of the page; all the same where one file holds everything."""

    page: str
    """The page's own file."""
    index: str
    """The file that lists all entries."""
    entries: Mapping[str, str]
    """Entry id → file with its details."""
    panels: Mapping[str, str]
    """Anchor of a comparison → file with all of its rows and charts."""

    def entry(self, id: str, here: str) -> str:
        """The address of an entry's details, as a file here has to write it."""
        return self._address(self.entries[id], f"e-{id}", here)

    def panel(self, anchor: str, here: str) -> str:
        """The address of a comparison."""
        return self._address(self.panels[anchor], anchor, here)

    def home(self, anchor: str, here: str) -> str:
        """The address of a part of the page itself."""
        return self._address(self.page, anchor, here)

    def all_entries(self, here: str) -> str:
        """The address of the list of entries."""
        return self._address(self.index, "entries", here)

    @property
    def whole(self) -> bool:
        """Whether one file holds everything."""
        return self.index == self.page

    def _address(self, file: str, anchor: str, here: str) -> str:
        if file == here:
            return f"#{anchor}"
        up = "../" * (len(PurePosixPath(here).parts) - 1)
        return f"{up}{quote(file)}#{anchor}"


def in_one_file(page: str, groups: Sequence[Group], entries: Sequence[Entry]) -> Places:
    """All on the page itself.

    Args:
        page: Name of its file.
        groups: What is compared.
        entries: All entries.
    """
    anchors = [panel.anchor for group in groups for panel in group.panels]
    return Places(page, page, {entry.id: page for entry in entries}, dict.fromkeys(anchors, page))


def in_a_folder(page: str, groups: Sequence[Group], entries: Sequence[Entry]) -> Places:
    """A file a comparison, and its entries' details in files of a hundred, in a folder beside the page.

    Args:
        page: Name of its file.
        groups: What is compared.
        entries: All entries, superseded ones included.
    """
    folder = f"{PurePosixPath(page).stem}-details"
    panels: dict[str, str] = {}
    cards: dict[str, str] = {}
    for group in groups:
        for panel in group.panels:
            # The number keeps names apart also where a disk knows no capital letters.
            stem = f"{folder}/{len(panels) + 1:04}-{PurePosixPath(group.environment).name}"
            panels[panel.anchor] = f"{stem}.html"
            cards |= _in_files([line.entry.id for line in panel.lines], f"{stem}-entries")
    cards |= _in_files([entry.id for entry in entries if entry.id not in cards], f"{folder}/superseded")
    return Places(page, f"{folder}/entries.html", cards, panels)


def _in_files(ids: Sequence[str], stem: str) -> dict[str, str]:
    return {id: f"{stem}-{place // _CARDS + 1}.html" for place, id in enumerate(ids)}
