"""Which colour, marker and line a normalizer has, everywhere on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard.compare.board import BASELINE
from gdpo_bench.leaderboard.files.schema import Entry

COLOURS = 8
"""Number of colours in `assets/page.css`, which has a light and a dark variant of each; 0 is that of text."""
MARKERS = ("circle", "square", "triangle", "diamond", "down", "cross", "hexagon")
"""Names of the symbols in `templates/markers.html`. Their number shares no factor with that of the colours."""
DASHES = ("", "7 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Look:
    """How one configuration of a normalizer is drawn."""

    colour: int
    """Index of its colour."""
    marker: str
    dash: str
    """SVG's `stroke-dasharray`; tells configurations of one normalizer apart. Empty for a solid line."""


def look_up(entries: Sequence[Entry]) -> dict[str, Look]:
    """Entry id → look, for all entries of a page.

    The baseline has the colour of text. The others come in the order in which they appeared, so that
    entries that are filed later change no colour.
    """
    ordered = sorted(entries, key=lambda entry: (entry.provenance.date, entry.normalizer.name, entry.id))
    names = list(dict.fromkeys([BASELINE, *(entry.normalizer.name for entry in ordered)]))
    configurations: dict[str, list[str]] = {name: [] for name in names}
    looks = {}
    for entry in ordered:
        known = configurations[entry.normalizer.name]
        own = canonical_json(entry.normalizer.options)
        if own not in known:
            known.append(own)
        place = names.index(entry.normalizer.name)
        looks[entry.id] = Look(place % COLOURS, MARKERS[place % len(MARKERS)], DASHES[known.index(own) % len(DASHES)])
    return looks
