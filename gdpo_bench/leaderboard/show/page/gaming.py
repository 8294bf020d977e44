"""What the page says of gaming: how far an environment's rewards can be had by replies that ignore their task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdpo_bench.core.gaming import ALL_RIGHT, Gamed, GamingCertificate, gamed, outdated
from gdpo_bench.leaderboard.files.schema import Environment


@dataclass(frozen=True)
class Gaming:
    """A certificate, ready to be laid out."""

    certificate: GamingCertificate
    rows: tuple[Gamed, ...]
    """A row for each reward, and for all of them at once."""
    short: str
    """In a line."""


def gaming_of(environment: Environment, certificates: Mapping[str, GamingCertificate]) -> Gaming | None:
    """The certificate that is about an entry's tasks and rewards, if there is one.

    Options may be others: those that leave tasks and rewards alone are about demonstrations, and the page names them.

    Args:
        environment: What an entry was run on.
        certificates: Environment id → certificate.
    """
    found = certificates.get(environment.id)
    if found is None:
        return None
    now = {name: getattr(environment, name) for name in ("grader_revision", "split", "task_ids_hash")}
    rewards = {one.name: (one.low + 0.0, one.high) for one in environment.rewards}
    if outdated(found, now) or {name: (one.low, one.high) for name, one in found.rewards.items()} != rewards:
        return None
    rows = tuple(gamed(found))
    return Gaming(found, rows, _short(rows))


def _short(rows: tuple[Gamed, ...]) -> str:
    told = [
        f"{one.reach:.0%} of {'all right' if one.name == ALL_RIGHT else one.name}"
        + (" by design" if one.verdict == "allowed" else "")
        for one in rows
        if one.verdict != "free"
    ]
    return f"replies that ignore their task reach {' and '.join(told)}"
