"""What our normalizers claim: every property, but for the exceptions declared here.

Both sides are tested: a claimed property must have no counterexample, a declared exception must
have one. Exceptions are consequences of the published formulas, not of their implementation.
"""

from __future__ import annotations

from typing import Any

CLAIMED: dict[str, dict[str, Any]] = {
    "grpo": {},
    "grpo_no_std": {},
    "grpo_batch_std": {},
    "grpo_scaled": {},
    "rloo": {},
    "maxrl": {},
    "opo": {},
    "pass_at_k": {"k": 2},
    "reinforce_pp": {},
    "reinforce_pp_baseline": {},
    "gdpo": {},
    "gdpo_no_bn": {},
    "gd2po": {},
    "gd2po_hard": {},
    "dgdo": {},
}
"""The normalizers of the table, with the options under which they are tested."""

_SUMS_FIRST = {
    "scale-per-reward": "rewards are added before anything is normalized, so the widest range dominates the sum",
    "figure-3": "different vectors with the same sum, or sums that differ in scale, collapse",
}
_UNDIVIDED = {
    "scale-common": "there is no division by a spread: advantages are in the unit of the reward",
    "magnitude": "there is no division by a spread: advantages grow with the sum",
    "single-reward": "groups keep their own spread, which GRPO divides out",
}
_WHITENED = {
    "absence-is-local": "whitening divides by the spread of the whole batch",
}
_FILTERED = {
    "chunks": "dropped rollouts stay at 0 while whitening shifts and scales the kept ones",
    "uneven-groups": "dropped rollouts stay at 0 while whitening shifts and scales the kept ones",
    "group-mean-zero": "dropping rollouts unbalances their group",
    "group-of-one": "kept rollouts have a mean other than 0, which whitening takes from every one of them",
    "equal-rewards": "kept rollouts have a mean other than 0, which whitening takes from every one of them",
    "dominance": "a rollout with a conflict gets 0, also where a worse one without conflict gets more",
}

EXCEPTIONS: dict[str, dict[str, str]] = {
    "grpo": _SUMS_FIRST,
    "grpo_no_std": _SUMS_FIRST | _UNDIVIDED,
    "grpo_batch_std": _SUMS_FIRST
    | {
        "single-reward": "groups keep their own spread, which GRPO divides out",
        "absence-is-local": "the spread is that of the whole batch",
    },
    "grpo_scaled": {"figure-3": _SUMS_FIRST["figure-3"]},
    "rloo": _SUMS_FIRST | _UNDIVIDED,
    "maxrl": _SUMS_FIRST
    | {
        "shift": "the divisor is the mean, so that zero means no success",
        "single-reward": "the divisor is the mean and not the spread",
    },
    "opo": _SUMS_FIRST
    | _UNDIVIDED
    | {
        "length": "the baseline is weighted by length: that is the estimator",
        "group-mean-zero": "the length-weighted mean is 0, the plain one is not",
    },
    "pass_at_k": _SUMS_FIRST
    | {
        "single-group": "a group of k or fewer has one subset, so nothing to compare",
        "single-reward": "credit goes to the best of k, not to each reward by its size",
    },
    "reinforce_pp": {
        "scale-per-reward": _SUMS_FIRST["scale-per-reward"],
        "group-of-one": "the baseline is the batch's mean: a lone rollout differs from it",
        "group-mean-zero": "the baseline is the batch's mean, not the group's",
        "equal-rewards": "the baseline is the batch's mean: an even group differs from it as a whole",
        "single-reward": "the baseline is the batch's mean, not the group's",
        "absence-is-local": "mean and spread are those of the whole batch",
    },
    "reinforce_pp_baseline": _SUMS_FIRST
    | _WHITENED
    | {"single-reward": "groups keep their own spread, which GRPO divides out"},
    "gdpo": _WHITENED,
    "gdpo_no_bn": {"magnitude": "each reward adds advantages of unit spread; only whitening takes that back"},
    "gd2po": _WHITENED | _FILTERED,
    "gd2po_hard": _WHITENED
    | _FILTERED
    | {"single-group": "the better and the worse rollout may both have a conflict, and be dropped"},
    "dgdo": _WHITENED
    | {
        "chunks": "the weights depend on the spread and mean of the rewards seen",
        "uneven-groups": "the weights depend on the spread and mean of the rewards seen",
        "shift": "the weights divide by the mean",
        "constant-sum": "the two rewards get different weights, unless their means and spreads agree",
    },
}
"""Normalizer → property → why it cannot have it. Whatever is not listed is claimed."""
EXCEPTIONS["mo_grpo"] = EXCEPTIONS["gdpo_no_bn"]
