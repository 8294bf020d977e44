"""Which colour, marker and line a configuration of a normalizer has, everywhere on the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard.compare.board import BASELINE, changed_weights
from gdpo_bench.leaderboard.files.schema import Entry

PINNED = (BASELINE, "gdpo")
"""Normalizers that stand first in every table, whatever it is sorted by, and are always shown."""
COLOURS = 8
"""Number of colours in `assets/page.css`, which has a light and a dark variant of each; 0 is that of text. The first
ones belong to the pinned normalizers as they are by default, so that no other line is mistaken for theirs."""
MARKERS = ("circle", "square", "triangle", "diamond", "down", "cross", "hexagon")
"""Names of the symbols in `templates/markers.html`. Their number shares no factor with that of the free colours."""
DASHES = ("", "7 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Look:
    """How one configuration of a normalizer is drawn."""

    colour: int
    """Index of its colour, one after the other through all configurations."""
    marker: str
    """That of the normalizer."""
    dash: str
    """SVG's `stroke-dasharray`; tells configurations of one normalizer apart. Empty for a solid line."""

    @property
    def pinned(self) -> bool:
        """Whether it is that of a pinned normalizer as it is by default, whatever a table calls it."""
        return self.colour < len(PINNED)


def look_up(entries: Sequence[Entry]) -> dict[str, Look]:
    """Entry id → look, for all entries of a page.

    Configurations come in the order in which they appeared, so that entries that are filed later change no look.
    """
    ordered = sorted(entries, key=lambda entry: (entry.provenance.date, entry.normalizer.name, entry.id))
    markers = {
        name: place for place, name in enumerate(dict.fromkeys([*PINNED, *(e.normalizer.name for e in ordered)]))
    }
    dashes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    colours: dict[tuple[str, str], int] = {}
    free = COLOURS - len(PINNED)
    looks = {}
    for entry in ordered:
        name, own = entry.normalizer.name, canonical_json([entry.normalizer.live_options, changed_weights(entry)])
        dash = dashes[name].setdefault(own, len(dashes[name]))
        if name in PINNED and dash == 0:
            colour = PINNED.index(name)
        else:
            colour = len(PINNED) + colours.setdefault((name, own), len(colours)) % free
        looks[entry.id] = Look(colour, MARKERS[markers[name] % len(MARKERS)], DASHES[dash % len(DASHES)])
    return looks
