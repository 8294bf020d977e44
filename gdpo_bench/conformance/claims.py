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
    "corr_grpo": {},
    "gdpo_corr": {},
    "dara": {},
    "dara_sym": {},
    "sa_mrpo": {},
    "saw": {},
    "saw_grpo": {},
    "dvao": {},
    "dvao_raw": {},
    "rvpo": {},
    "papo": {},
    "na_zero_fill": {},
    "na_subgroup": {},
    "pareto_rank": {},
    "hvo": {},
    "corpo": {},
    "constrained_grpo": {},
    "lagrangian": {"target": 2.0},
    "ctwa": {"target": 1.0},
    "tchebycheff": {},
}
"""The normalizers of the table, with the options under which they are tested."""

_SUMS_FIRST = {
    "scale-per-reward": "rewards are added before anything is normalized, so the widest range dominates the sum",
    "scale-cannot-silence": "rewards are added before anything is normalized, so the widest range dominates the sum",
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

_BY_BATCH = {
    "chunks": "the weights of rewards depend on the whole batch",
    "uneven-groups": "the weights of rewards depend on the whole batch",
}
_UNEQUAL_WEIGHTS = {"constant-sum": "the two rewards get different weights, unless their statistics agree"}
_ROLES = {"reward-order": "the first reward has a part of its own; by name it has one wherever it stands"}
_CONDITIONED = {
    **_ROLES,
    "shift": "a rollout is correct, or passes the gate, at a given value",
    "scale-common": "a rollout is correct, or passes the gate, at a given value",
    "scale-per-reward": "a rollout is correct, or passes the gate, at a given value",
    "magnitude": "each reward adds advantages of unit spread, and nothing takes that back",
    "constant-sum": "the two rewards are compared among different rollouts",
}
_DEAD_GROUPS_MOVE = {
    "group-mean-zero": "the advantages of a group do not add up to 0 before whitening, which takes the batch's mean",
    "group-of-one": "whitening takes the batch's mean, which is not 0, from every rollout",
    "equal-rewards": "whitening takes the batch's mean, which is not 0, from every rollout",
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
        "scale-cannot-silence": _SUMS_FIRST["scale-cannot-silence"],
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
    "corr_grpo": _SUMS_FIRST
    | _UNDIVIDED
    | {
        "bounded-trade-off": "rewards of different scale that trade off leave a sum, and correlations that add up to 0",
        "bounded-odd-one-out": "two rewards of equal fellows trade off perfectly where one rises and one falls",
    },
    "gdpo_corr": _WHITENED
    | {
        "magnitude": "the divisor is that of the correlations, not the spread of the sum",
        "bounded-trade-off": "of different weight, terms that trade off leave a sum, and correlations that add up to 0",
    },
    "dara": _WHITENED | _BY_BATCH | _DEAD_GROUPS_MOVE,
    "dara_sym": _WHITENED | _BY_BATCH,
    "sa_mrpo": _WHITENED
    | _BY_BATCH
    | _UNEQUAL_WEIGHTS
    | {
        "shift": "the weights depend on where rewards lie in their declared ranges",
        "scale-common": "the weights depend on where rewards lie in their declared ranges",
    },
    "saw": _WHITENED
    | _BY_BATCH
    | _UNEQUAL_WEIGHTS
    | {"shift": "the weights divide by the mean above the declared low"},
    "saw_grpo": _SUMS_FIRST
    | _BY_BATCH
    | _UNEQUAL_WEIGHTS
    | {
        "shift": "the weights divide by the mean above the declared low",
        "absence-is-local": "the weights are those of the whole batch",
    },
    "dvao": {"figure-3": _SUMS_FIRST["figure-3"]},
    "dvao_raw": _SUMS_FIRST,
    "rvpo": _WHITENED
    | _DEAD_GROUPS_MOVE
    | {
        "constant-sum": "a soft minimum is not a sum: two opposite rewards leave a penalty",
    },
    "papo": _CONDITIONED
    | {
        "figure-3": "the process of wrong rollouts is not told apart",
    },
    "na_zero_fill": _CONDITIONED
    | {
        "single-group": "a gate that is passed at 1 is not passed by what is better",
        "dominance": "a gate that is passed at 1 is not passed by what is better",
        "figure-3": "rewards are told apart only where the gate passes",
    },
    "na_subgroup": _CONDITIONED | {"figure-3": "rewards are told apart only where the gate passes"},
    "pareto_rank": {
        "single-reward": "credit is a rank, whatever lies between two rewards",
        "figure-3": "rollouts on one front are not told apart",
    },
    "hvo": {
        "chunks": "volumes begin at the smallest values of the whole batch",
        "uneven-groups": "volumes begin at the smallest values of the whole batch",
        "scale-common": "the margin below the smallest value is in the unit of the rewards",
        "scale-per-reward": "the margin below the smallest value is in the unit of the rewards",
        "scale-cannot-silence": "the margin below the smallest value is in the unit of the rewards",
        "constant-sum": "a product is not a sum: balance counts",
        "figure-3": "different vectors of one volume collapse",
    },
    "corpo": {
        "scale-per-reward": _SUMS_FIRST["scale-per-reward"],
        "scale-cannot-silence": _SUMS_FIRST["scale-cannot-silence"],
        "scale-common": _UNDIVIDED["scale-common"],
        "magnitude": _UNDIVIDED["magnitude"],
        "group-of-one": "the baseline is a threshold, which a lone rollout may miss",
        "shift": "the threshold lies where it lies",
        "group-mean-zero": "a group below the threshold is pushed away as a whole",
        "equal-rewards": "a group below the threshold is pushed away as a whole",
        "single-reward": "the baseline is a threshold, and nothing is divided by a spread",
    },
    "constrained_grpo": {},
    "lagrangian": _BY_BATCH
    | _ROLES
    | _UNEQUAL_WEIGHTS
    | {
        "shift": "targets lie where they lie",
        "scale-common": "targets are in the unit of the rewards",
        "scale-per-reward": "targets are in the unit of the rewards, which are added before anything is normalized",
    },
    "ctwa": _SUMS_FIRST,
    "tchebycheff": {
        "chunks": "the ideal is the best of the whole batch",
        "uneven-groups": "the ideal is the best of the whole batch",
        "absence-is-local": "the ideal is the best of the whole batch",
        "scale-per-reward": "distances from the ideal are in the unit of the rewards",
        "scale-cannot-silence": "distances from the ideal are in the unit of the rewards",
        "constant-sum": "the worst distance is not a sum",
        "figure-3": "only the reward that is farthest from its ideal is told apart",
    },
}
"""Normalizer → property → why it cannot have it. Whatever is not listed is claimed."""
EXCEPTIONS["mo_grpo"] = EXCEPTIONS["gdpo_no_bn"]
