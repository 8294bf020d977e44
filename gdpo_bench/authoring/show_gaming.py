"""A gaming certificate, for a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from gdpo_bench.core.gaming import ALL_RIGHT, LIMIT, Gamed, GamingCertificate, gamed


def gaming_table(certificate: GamingCertificate) -> Table:
    """What gaming reaches in each reward, and what it loses."""
    table = Table(
        "gaming", "empty", "references", "best", "by", "which loses", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in table.columns[:4]:
        column.no_wrap = True
    for one in gamed(certificate):
        loses = ", ".join(f"{name} {loss:.3g}" for name, loss in one.cost.items()) or ("nothing" if one.policy else "")
        floor = "–" if one.floor is None else f"{one.floor:.2f}"
        table.add_row(one.name, floor, f"{one.oracle:.2f}", f"{one.best:.2f}", one.policy or "nobody", escape(loses))
    return table


def gaming_verdict(certificate: GamingCertificate) -> list[str]:
    """In sentences: what was measured, and what of correctness can be gamed."""
    data = f", data {certificate.data_revision}" if certificate.data_revision else ""
    measured = (
        f"Means over {certificate.tasks} tasks of {certificate.split!r}, grader revision {certificate.grader_revision}"
        f"{data}. Known to the policies: {certificate.seen}."
    )
    judged = [one for one in gamed(certificate) if one.verdict != "free"]
    held = [one for one in judged if one.verdict == "holds"]
    sentences = [measured]
    if held:
        reached = " and ".join(f"{one.reach:.0%} in {_called(one)}" for one in held)
        sentences.append(f"Replies that ignore their task reach at most {reached} of what the references earn.")
    for one in judged:
        if one.verdict == "allowed":
            sentences.append(f"By design {_called(one)} can be gamed: {certificate.allowed[one.name]}")
        elif one.verdict == "gamed":
            sentences.append(
                f"{one.policy!r}, which ignores its task, reaches {one.reach:.0%} of what the references earn in "
                f"{_called(one)}; less than {LIMIT:.0%} is asked for. Mend the reward; or, if that is how the "
                "environment is meant, say why in gameable()."
            )
    return sentences


def _called(one: Gamed) -> str:
    return "all rewards at once" if one.name == ALL_RIGHT else one.name
