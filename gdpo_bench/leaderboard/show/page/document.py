"""The whole page, from entries to text. Equal entries give equal text."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gdpo_bench.core.gaming import GamingCertificate
from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.leaderboard.compare.alike import setting
from gdpo_bench.leaderboard.compare.board import BASELINE
from gdpo_bench.leaderboard.files.attestation import Attestation, status
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.show.page import views
from gdpo_bench.leaderboard.show.page.looks import PINNED, Look, look_up
from gdpo_bench.leaderboard.show.page.places import Places, in_a_folder, in_one_file
from gdpo_bench.leaderboard.show.page.pooling import PooledPanel, pooled

_PACKAGE = "gdpo_bench.leaderboard.show.page"
NAME = "leaderboard.html"
_ONE_FILE = 400
"""With more entries than these, details lie in files beside the page."""
_LARGEST = 6_000_000
"""So do they where one file would take more bytes."""
_LISTED = 8
"""Environments that a reader sees before opening anything, so that the page stays some screens high."""
_TOLD = 3
"""Findings of an environment that stand first, the largest."""
_ON_FRONT = 40
"""Environments whose fullest comparison stands on a page with files beside it; the others are linked."""


@dataclass(frozen=True)
class Filter:
    """A choice that hides all other entries."""

    key: str
    """The entry's `data-` attribute."""
    title: str
    values: tuple[str, ...]


_FILTERS: tuple[tuple[str, str, Callable[[Entry], str]], ...] = (
    ("track", "Track", lambda entry: entry.track),
    ("environment", "Environment", lambda entry: entry.environment.id),
    ("policy", "Policy", lambda entry: entry.policy.name),
    ("division", "Division", lambda entry: entry.division),
    ("author", "Author", lambda entry: entry.provenance.author),
)


_NONE: Mapping[str, Any] = MappingProxyType({})


def render_page(
    entries: Iterable[Entry],
    attestations: Mapping[str, Sequence[Attestation]] = _NONE,
    certificates: Mapping[str, GamingCertificate] = _NONE,
) -> str:
    """A self-contained HTML page with tables, charts and provenance of a board's entries.

    Args:
        entries: All entries of a board in any order, corrected ones included: those are listed, marked as
            superseded, and not compared.
        attestations: Entry id → who has repeated it.
        certificates: Environment id → what gaming earns there.

    Returns:
        The text of the page. Everything that comes from an entry is escaped in it.
    """
    board = _Board.of(entries, attestations, certificates)
    return board.whole(in_one_file(NAME, board.groups, board.known))


def render_site(
    entries: Iterable[Entry],
    attestations: Mapping[str, Sequence[Attestation]] = _NONE,
    name: str = NAME,
    certificates: Mapping[str, GamingCertificate] = _NONE,
) -> dict[str, str]:
    """The page as `render_page` makes it, or, of a large board, a short page and files in a folder beside it.

    Args:
        entries: As for `render_page`.
        attestations: Entry id → who has repeated it.
        name: Name of the page's file.
        certificates: Environment id → what gaming earns there.

    Returns:
        Path below the page's folder → text, the page itself last.
    """
    board = _Board.of(entries, attestations, certificates)
    if len(board.known) <= _ONE_FILE:
        text = board.whole(in_one_file(name, board.groups, board.known))
        if len(text.encode()) <= _LARGEST:
            return {name: text}
    return board.in_parts(in_a_folder(name, board.groups, board.known))


@dataclass(frozen=True)
class _Board:
    """What all files of a page are made from."""

    attestations: Mapping[str, Sequence[Attestation]]
    known: Sequence[Entry]
    corrections: Mapping[str, str]
    """Id of a superseded entry → id of its correction."""
    current: Sequence[Entry]
    looks: Mapping[str, Look]
    groups: Sequence[views.Group]
    pooled: Sequence[PooledPanel]

    @classmethod
    def of(
        cls,
        entries: Iterable[Entry],
        attestations: Mapping[str, Sequence[Attestation]],
        certificates: Mapping[str, GamingCertificate],
    ) -> _Board:
        known = sorted(
            entries,
            key=lambda entry: (entry.track != "training", entry.environment.id, entry.normalizer.name, entry.id),
        )
        corrections = {entry.supersedes: entry.id for entry in known if entry.supersedes}
        current = [entry for entry in known if entry.id not in corrections]
        looks = look_up(known)
        groups = views.groups(current, looks, certificates)
        return cls(attestations, known, corrections, current, looks, groups, pooled(current, looks))

    def whole(self, places: Places) -> str:
        return self._render("page.html", places, places.page)

    def in_parts(self, places: Places) -> dict[str, str]:
        fronts = {group.panels[0].anchor: views.front(group.panels[0], self.looks) for group in self.groups[:_ON_FRONT]}
        files = {}
        for group in self.groups:
            for panel in group.panels:
                file = places.panels[panel.anchor]
                files[file] = self._render("setting.html", places, file, group=group, panel=panel)
        cards: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.known:
            cards[places.entries[entry.id]].append(entry)
        for file, some in cards.items():
            files[file] = self._render("cards.html", places, file, cards=some)
        files[places.index] = self._render("index.html", places, places.index)
        files[places.page] = self._render("page.html", places, places.page, fronts=fronts)
        return files

    def _render(self, template: str, places: Places, here: str, **values: Any) -> str:
        return _templates().get_template(template).render(self._shared | {"places": places, "here": here} | values)

    @cached_property
    def _shared(self) -> dict[str, Any]:
        style, script = (_asset(name) for name in ("page.css", "page.js"))
        readers = (*_FILTERS, ("status", "Status", lambda entry: status([entry], self.attestations)))
        return {
            "attestations": self.attestations,
            "baseline": BASELINE,
            "corrections": self.corrections,
            "current": self.current,
            "filters": [
                Filter(key, title, tuple(sorted({read(entry) for entry in self.known}))) for key, title, read in readers
            ],
            "fronts": {},
            "groups": self.groups,
            "lines": {
                part.id: (line, panel)
                for group in self.groups
                for panel in group.panels
                for line in panel.lines
                for part in line.parts
            },
            "listed": _LISTED,
            "looks": self.looks,
            "level": f"{CONFIDENCE:.0%}",
            "newest": max((entry.provenance.date.date().isoformat() for entry in self.known), default=None),
            "normalizers": _normalizers(self.current, self.looks),
            "pinned": PINNED,
            "pooled": self.pooled,
            "read_filter": {key: read for key, _, read in readers},
            "script": script,
            "script_hash": _hash(script),
            "style": style,
            "style_hash": _hash(style),
            "told": _TOLD,
            "superseded": [entry for entry in self.known if entry.id in self.corrections],
        }


def _normalizers(entries: Sequence[Entry], looks: Mapping[str, Look]) -> dict[str, Look]:
    """Name → look of its oldest configuration, by name."""
    found: dict[str, Look] = {}
    for entry in sorted(entries, key=lambda entry: (entry.normalizer.name, entry.provenance.date, entry.id)):
        found.setdefault(entry.normalizer.name, looks[entry.id])
    return found


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = _json
    environment.filters["file"] = views.file_of
    environment.filters["words"] = _words
    environment.globals["setting"] = setting
    return environment


def _asset(name: str) -> Markup:
    """A style sheet or script of ours, put into the page as it is."""
    return Markup((resources.files(_PACKAGE) / "assets" / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    """What the page's security policy allows a style sheet or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)


def _words(value: object) -> str:
    """An option or a weight as one reads it in JSON: `true`, `0.001`, `"mean"` without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
