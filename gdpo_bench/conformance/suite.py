"""Searching for counterexamples, and comparing what is found with what is claimed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from gdpo_bench.advantages.errors import NormalizerOutputError
from gdpo_bench.conformance.cases import Case
from gdpo_bench.conformance.implementation import CrashError, Implementation, OutsideDomainError
from gdpo_bench.conformance.properties import PROPERTIES, Property
from gdpo_bench.core.errors import UnknownNameError

Status = Literal["holds", "fails", "outside", "crashes"]
"""`outside`: the implementation handles none of the property's cases; `crashes`: it raised on one of them."""


@dataclass(frozen=True)
class Finding:
    """What a search came to."""

    prop: Property
    implementation: str
    status: Status
    reason: str | None
    """Why the property is declared not to hold, or None if it is claimed."""
    counterexample: Case | None = None
    problem: str = ""

    @property
    def as_declared(self) -> bool:
        """Whether a claim held, or a declared exception had a counterexample; a crash is none."""
        return self.status == "outside" or (
            self.status != "crashes" and (self.status == "holds") == (self.reason is None)
        )

    def __str__(self) -> str:
        """The finding in words, with its counterexample."""
        title = f"{self.implementation}: {self.prop.id}"
        if self.status == "outside":
            return f"{title} does not apply."
        if self.counterexample is None:
            declared = f", although declared not to ({self.reason})" if self.reason else ""
            return f"{title} holds{declared}."
        body = "\n".join(f"    {line}" for line in str(self.counterexample).splitlines())
        if self.status == "crashes":
            return f"{title} cannot be tested: {self.problem}\n{body}"
        declared = f"As declared ({self.reason})" if self.reason else self.prop.why
        return f"{title} fails: {self.prop.says}\n  {declared}\n{body}\n    {self.problem}"


def examine(
    implementation: Implementation,
    prop: Property,
    *,
    examples: int = 25,
    reason: str | None = None,
    shrink: bool = True,
) -> Finding:
    """Search for a counterexample and shrink it; deterministic.

    Args:
        implementation: What to test.
        prop: What to test it for.
        examples: How many cases to try.
        reason: Why the property is declared not to hold, if it is.
        shrink: Whether to look for the smallest counterexample, or to take the first.
    """
    applied = 0
    problems: dict[str, str] = {}
    crashed: set[str] = set()

    def violated(case: Case) -> bool:
        nonlocal applied
        try:
            problem = prop.check(implementation, case)
        except OutsideDomainError:
            return False
        except NormalizerOutputError as error:
            problem = str(error)
        except CrashError as error:
            problem = str(error)
            crashed.add(str(case))
        applied += 1
        problems[str(case)] = problem or ""
        return problem is not None

    def fails(case: Case) -> Finding:
        status: Status = "crashes" if str(case) in crashed else "fails"
        return Finding(prop, implementation.name, status, reason, case, problems[str(case)])

    if not shrink and (rare := next(filter(violated, prop.rare), None)):
        return fails(rare)
    search = settings(
        # What is declared to fail may fail rarely, and the search ends with the first failure.
        max_examples=examples if reason is None else 20 * examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    try:
        return fails(find(prop.cases, violated, settings=search))
    except NoSuchExample:
        if rare := next(filter(violated, prop.rare), None):
            return fails(rare)
        return Finding(prop, implementation.name, "holds" if applied else "outside", reason)


def examine_all(
    implementation: Implementation,
    *,
    exceptions: Mapping[str, str] | None = None,
    properties: Iterable[str] | None = None,
    examples: int = 25,
) -> list[Finding]:
    """Examine an implementation for all properties.

    Args:
        implementation: What to test.
        exceptions: Property id → why it is declared not to hold.
        properties: Which to test; by default all.
        examples: Cases for each property.

    Raises:
        UnknownNameError: No such property.
    """
    exceptions = exceptions or {}
    chosen = list(PROPERTIES) if properties is None else list(properties)
    for id in (*chosen, *exceptions):
        if id not in PROPERTIES:
            raise UnknownNameError("property", id, PROPERTIES)
    return [examine(implementation, PROPERTIES[id], examples=examples, reason=exceptions.get(id)) for id in chosen]
