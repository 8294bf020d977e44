"""What replies that ignore their task earn in an environment: measured once, kept in a file beside the environment.

A certificate holds the mean reward of a few fixed policies, the empty reply among them, and of the references. What can
be gained by gaming a reward, and what that loses in the others, follows from it without scoring anything again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from gdpo_bench.core.errors import DataError, UnknownNameError
from gdpo_bench.core.models import Options, StrictModel, problems
from gdpo_bench.core.registry import spec

ALL_RIGHT = "all right"
"""The share of replies that are right in every reward, beside the rewards' means; no reward can be called so."""
LIMIT = 0.5
"""Share of what the references earn above the lowest value that gaming may reach where correctness is concerned."""
EMPTY = "empty"
"""The policy that replies nothing; what it earns is the floor."""
FOLDER = "gaming"
"""Folder beside an environment's module that holds its certificate."""

Means = dict[str, float | None]
"""Reward, or `ALL_RIGHT` → mean over the tasks that it applies to; None where it applies to none."""


class RewardRange(StrictModel):
    """What a certificate says of a reward itself."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    correctness: bool
    """Whether the reward is declared to be correctness, by `metric="accuracy"`."""


class GamingCertificate(StrictModel):
    """What gaming policies and the references earn, and on what."""

    environment: str
    """Its id."""
    options: Options
    """What was passed to it."""
    grader_revision: int
    """Of its reward functions."""
    data_revision: str | None
    """Of its data source, where there is one."""
    split: str
    """Whose tasks were replied to."""
    task_ids_hash: str
    """Of the sorted ids of all of the split's tasks, as entries hold it."""
    tasks: int
    """How many of them were replied to."""
    seed: int
    """Fixes which replies the policies have seen."""
    seen: str
    """Where the policies know replies from."""
    rewards: dict[str, RewardRange]
    """By name, in the order of declaration."""
    oracle: Means | None
    """What the references earn; None where there are none."""
    policies: dict[str, Means]
    """What each gaming policy earns."""
    allowed: dict[str, str]
    """Reward, or `ALL_RIGHT` → why it can be reached by gaming, as the environment says."""


@dataclass(frozen=True)
class Gamed:
    """How far one reward, or the share of replies that are all right, can be gamed."""

    name: str
    """The reward's, or `ALL_RIGHT`."""
    floor: float | None
    """What the empty reply earns."""
    oracle: float
    """What the references earn; the largest value where there are none."""
    best: float
    """The most that a gaming policy earns."""
    policy: str
    """Which one; of equals the one that loses least elsewhere; none where nobody earns more than the lowest value."""
    reach: float
    """The best as a share of the way from the lowest value to the oracle's."""
    cost: dict[str, float]
    """Other reward, or `ALL_RIGHT` → what the policy loses there against the oracle, where it loses anything."""
    verdict: Literal["holds", "allowed", "gamed", "free"]
    """Of correctness and `ALL_RIGHT`: below `LIMIT`, above and declared, above. `free`: the others, of which nothing is
    asked."""


def gamed(certificate: GamingCertificate) -> list[Gamed]:
    """What gaming reaches in each reward, in their order, and in `ALL_RIGHT`, which comes last."""
    found = []
    for name in (*certificate.rewards, ALL_RIGHT):
        earned = {policy: value for policy, means in certificate.policies.items() if (value := means[name]) is not None}
        if not earned:
            continue
        costs = {policy: _cost(certificate, certificate.policies[policy], name) for policy in earned}
        low, oracle = _low(certificate, name), _oracle(certificate, name)
        policy = max(earned, key=lambda one: (earned[one], -_lost(certificate, costs[one])))
        best = earned[policy]
        reach = (best - low) / (oracle - low) if oracle > low else 1.0
        judged = name == ALL_RIGHT or certificate.rewards[name].correctness
        verdict: Literal["holds", "allowed", "gamed", "free"] = "holds" if judged else "free"
        if judged and reach >= LIMIT:
            verdict = "allowed" if name in certificate.allowed else "gamed"
        floor = certificate.policies[EMPTY][name]
        gained = (policy, costs[policy]) if best > low else ("", {})
        found.append(Gamed(name, floor, oracle, best, gained[0], reach, gained[1], verdict))
    return found


def _cost(certificate: GamingCertificate, means: Means, of: str) -> dict[str, float]:
    lost = {
        name: round(_oracle(certificate, name) - value, 4)
        for name, value in means.items()
        if name != of and value is not None
    }
    return {name: loss for name, loss in lost.items() if loss > 0}


def _lost(certificate: GamingCertificate, cost: Mapping[str, float]) -> float:
    """A policy's losses as shares of what can be lost, added up."""
    return sum(loss / max(_oracle(certificate, name) - _low(certificate, name), 1e-9) for name, loss in cost.items())


def _low(certificate: GamingCertificate, name: str) -> float:
    return 0.0 if name == ALL_RIGHT else certificate.rewards[name].low


def _oracle(certificate: GamingCertificate, name: str) -> float:
    known = None if certificate.oracle is None else certificate.oracle[name]
    if known is not None:
        return known
    return 1.0 if name == ALL_RIGHT else certificate.rewards[name].high


def outdated(certificate: GamingCertificate, now: Mapping[str, Any]) -> str:
    """What a certificate is about that has changed since; nothing if it holds.

    Args:
        certificate: A certificate.
        now: Some of its fields, as they are.
    """
    names = [name for name, value in now.items() if getattr(certificate, name) != value]
    return ", ".join(name.replace("_", " ") for name in names)


def certificate_path(id: str) -> Path | None:
    """Where an environment's certificate lies, or would: in `FOLDER` beside its module, which is not imported.

    Args:
        id: The environment's id, without options.

    Returns:
        The file; None where the environment is unknown here, or is of no file.
    """
    try:
        found = spec(id)
    except UnknownNameError:
        return None
    entry_point = found.entry_point
    module = entry_point.partition(":")[0] if isinstance(entry_point, str) else entry_point.__module__
    origin = _origin(module)
    return None if origin is None else origin.parent / FOLDER / f"{found.id.replace('/', '-').replace(':', '-')}.json"


def _origin(module: str) -> Path | None:
    """A module's file."""
    package, _, _ = module.rpartition(".")
    try:
        found = find_spec(module) if package else PathFinder.find_spec(module)  # __main__ has no file of its own
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.has_location and found.origin else None


def read_certificate(id: str) -> GamingCertificate | None:
    """An environment's certificate, or None where it has none.

    Args:
        id: The environment's id, without options.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    path = certificate_path(id)
    if path is None or not path.is_file():
        return None
    try:
        return GamingCertificate.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        told = problems(error) if isinstance(error, ValidationError) else f"{error.strerror or error}"
        raise DataError(
            f"{path} is no certificate ({told}); write it anew: gdpo-bench check {id} --gaming --write."
        ) from error
