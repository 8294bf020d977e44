"""The whole page, from entries to text. Equal entries give equal text."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.leaderboard.compare.board import BASELINE, setting
from gdpo_bench.leaderboard.files.attestation import Attestation, status
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.show.page import views
from gdpo_bench.leaderboard.show.page.looks import Look, look_up
from gdpo_bench.leaderboard.show.page.pooling import pooled

_PACKAGE = "gdpo_bench.leaderboard.show.page"


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


_NONE: Mapping[str, Sequence[Attestation]] = MappingProxyType({})


def render_page(entries: Iterable[Entry], attestations: Mapping[str, Sequence[Attestation]] = _NONE) -> str:
    """A self-contained HTML page with tables, charts and provenance of a board's entries.

    Args:
        entries: All entries of a board in any order, corrected ones included: those are listed, marked as
            superseded, and not compared.
        attestations: Entry id → who has repeated it.

    Returns:
        The text of the page. Everything that comes from an entry is escaped in it.
    """
    known = sorted(
        entries, key=lambda entry: (entry.track != "training", entry.environment.id, entry.normalizer.name, entry.id)
    )
    corrections = {entry.supersedes: entry.id for entry in known if entry.supersedes}
    current = [entry for entry in known if entry.id not in corrections]
    looks = look_up(known)
    groups = views.groups(current, looks)
    readers = (*_FILTERS, ("status", "Status", lambda entry: status(entry, attestations)))
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    return (
        _templates()
        .get_template("page.html")
        .render(
            attestations=attestations,
            baseline=BASELINE,
            corrections=corrections,
            current=current,
            entries=known,
            filters=[
                Filter(key, title, tuple(sorted({read(entry) for entry in known}))) for key, title, read in readers
            ],
            groups=groups,
            lines={line.entry.id: (line, panel) for group in groups for panel in group.panels for line in panel.lines},
            looks=looks,
            level=f"{CONFIDENCE:.0%}",
            newest=max((entry.provenance.date.date().isoformat() for entry in known), default=None),
            normalizers=_normalizers(known, looks),
            pooled=pooled(current, looks),
            read_filter={key: read for key, _, read in readers},
            script=script,
            script_hash=_hash(script),
            style=style,
            style_hash=_hash(style),
        )
    )


def _normalizers(entries: Sequence[Entry], looks: dict[str, Look]) -> dict[str, Look]:
    """Name → look, by name."""
    return {
        entry.normalizer.name: looks[entry.id] for entry in sorted(entries, key=lambda entry: entry.normalizer.name)
    }


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
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
