"""Result files that others can read, compare and repeat: their format, their store, their tables.

Needs neither torch nor transformers.
"""

from gdpo_bench.leaderboard.files.entries import EntryError, entry_text, make_entry, parse_entry
from gdpo_bench.leaderboard.files.provenance import collect_provenance
from gdpo_bench.leaderboard.files.schema import (
    Cost,
    Curve,
    Entry,
    Environment,
    Hardware,
    NormalizerConfig,
    PolicyConfig,
    Provenance,
    Seed,
    SeedResult,
)

__all__ = [
    "Cost",
    "Curve",
    "Entry",
    "EntryError",
    "Environment",
    "Hardware",
    "NormalizerConfig",
    "PolicyConfig",
    "Provenance",
    "Seed",
    "SeedResult",
    "collect_provenance",
    "entry_text",
    "make_entry",
    "parse_entry",
]
