"""Options that entries hold and their normalizers no longer have.

Up to November 2026 estimators shared options, so that an entry pinned also those that changed none
of its numbers. Entries are never rewritten; where such an option stands at its old default it is
passed over, and two entries that differ in nothing else are of one configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EXACT = {"zero_variance": "zero"}
_UNDIVIDED = {"eps": 1e-6, "ddof": 1} | _EXACT
_UNWHITENED = {
    "scope": "sequence",
    "whitening_eps": None,
    "eps_in_root": False,
    "whiten_absent": False,
    "grpo_if_single": False,
}
_MEAN = {"baseline": "mean"}
_NO_FALLBACK = {"grpo_if_single": False}

REMOVED: dict[str, dict[str, Any]] = {
    "grpo_no_std": _UNDIVIDED,
    "grpo_batch_std": _EXACT,
    "rloo": _UNDIVIDED,
    "maxrl": {"ddof": 1} | _EXACT,
    "opo": _UNDIVIDED | _MEAN,
    "pass_at_k": {"ddof": 1, "singleton": "zero"} | _EXACT | _MEAN,
    "reinforce_pp": {"singleton": "zero"} | _EXACT | _MEAN,
    "reinforce_pp_baseline": _EXACT,
    "gdpo_no_bn": _UNWHITENED,
    "mo_grpo": _UNWHITENED,
    "gd2po": _NO_FALLBACK,
    "gd2po_hard": {"tau": 0.2} | _NO_FALLBACK,
    "dgdo": _NO_FALLBACK,
}
"""Normalizer → option → the default it had."""


def without_removed(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an entry's normalizer but for removed ones at their old defaults."""
    removed = REMOVED.get(name, {})
    return {option: value for option, value in options.items() if option not in removed or value != removed[option]}


ADDED: Mapping[str, Mapping[str, Any]] = {
    "constrained_grpo": {"objective": None},
    "lagrangian": {"objective": None},
    "na_subgroup": {"passing": 1.0},
    "na_zero_fill": {"passing": 1.0},
    "papo": {"correct": 1.0},
}
"""Normalizer → option that the first entries do not name → the default that does what was done then."""


def with_added(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an entry's normalizer with those that came later."""
    return {**ADDED.get(name, {}), **options}
