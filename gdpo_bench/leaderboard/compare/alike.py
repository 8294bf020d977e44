"""What entries must share to be compared: the setting, and the warm starts that they have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard.files.schema import Entry

WARM_STARTS = "warm_start_corpus"
"""Detail of a policy: seed of the warm start → hash of what it imitated."""


def setting(entry: Entry) -> dict[str, Any]:
    """All that entries must share to be compared, as fresh JSON."""
    return entry.model_dump(mode="json", include={"track", "environment", "policy"}) | {
        "training": entry.trained_with()
    }


def like(entry: Entry) -> dict[str, Any]:
    """All that entries must share to be compared but the warm starts, of which one may have more."""
    found = setting(entry)
    found["policy"]["details"].pop(WARM_STARTS, None)
    return found


def group_alike(entries: Iterable[Entry], fixed: Callable[[Entry], Mapping[str, Any]]) -> list[list[Entry]]:
    """Entries that agree in all that is fixed, and in the warm starts that they share; in a fixed order.

    Args:
        entries: In any order.
        fixed: What must agree of an entry, as JSON.
    """
    groups: defaultdict[str, list[tuple[list[Entry], dict[str, str]]]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.id):
        known = groups[canonical_json(fixed(entry))]
        own = warm_starts(entry)
        home = next((one for one in known if agree(one[1], own)), None)
        if home is None:
            known.append(home := ([], {}))
        home[0].append(entry)
        home[1].update(own)
    return [group for key in sorted(groups) for group, _ in groups[key]]


def warm_starts(entry: Entry) -> dict[str, str]:
    """Seed of each warm start → hash of what it imitated; empty where nothing was imitated."""
    found: dict[str, str] = entry.policy.details.get(WARM_STARTS, {})
    return found


def agree(some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """Whether the warm starts that both have imitated the same."""
    return all(some.get(seed, corpus) == corpus for seed, corpus in others.items())
