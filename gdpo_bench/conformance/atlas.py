"""The atlas of failures: for an estimator the smallest batch on which each property falls, with its advantages.

    gdpo-bench atlas corr_grpo
    gdpo-bench atlas grpo:preset=nemo-rl@0.7
    gdpo-bench atlas my_package.module:function

The page in docs/ is written by `gdpo-bench atlas --markdown docs/atlas.md`; a test computes its batches again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages import DomainError, NormalizerOutputError
from gdpo_bench.advantages.collapse import count_kinds, multisets
from gdpo_bench.conformance.cases import Case
from gdpo_bench.conformance.claims import CLAIMED, EXCEPTIONS
from gdpo_bench.conformance.implementation import Implementation, implementation
from gdpo_bench.conformance.properties import PROPERTIES, Property
from gdpo_bench.conformance.suite import examine
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.errors import GdpoBenchError

FALLS = (
    "bounded-trade-off",
    "bounded-odd-one-out",
    "equal-rewards",
    "scale-cannot-silence",
    "dominance",
    "absence-is-not-worst",
    "finite",
)
"""The properties of the atlas: what makes an update wrong, rather than a choice."""
TARGETS = (
    *CLAIMED,
    "grpo:baseline=leave_one_out,zero_variance=eps",
    "grpo:preset=trl",
    "gdpo:preset=trl",
    "gdpo:preset=verl",
    "gdpo:preset=ms-swift",
    "grpo:preset=nemo-rl@0.7",
    "gdpo:preset=nemo-rl@0.7",
    "gdpo:preset=nemo-rl@main",
    "gdpo:preset=tunix",
)
"""What the page in docs/ shows: all estimators, and what frameworks compute."""
EXAMPLES = 200
KINDS = f"Kinds of advantages before whitening, of the {multisets(4, 4):,} groups of 4 rollouts with 4 binary rewards:"


class RaisedError(GdpoBenchError):
    """A function raised on a batch of the atlas, so that nothing can be said of it."""


@dataclass(frozen=True)
class Fall:
    """A property that an estimator does not have, and the smallest batch found that shows it."""

    prop: Property
    case: Case
    advantages: Tensor | None
    """(N,), of that batch; None where they are not finite, which our door refuses."""
    problem: str
    """What is wrong with them."""

    def __str__(self) -> str:
        """The property, the batch and its advantages."""
        lines = [f"{self.prop.id}: {self.prop.says}", *str(self.case).splitlines()]
        lines += [f"advantages = {shown(self.advantages)}", f"→ {self.problem}"]
        return "\n  ".join(lines)


def shown(advantages: Tensor | None) -> str:
    """Advantages as the atlas prints them."""
    if advantages is None:
        return "none"
    return "[" + ", ".join(f"{value:.6g}" for value in advantages.tolist()) + "]"


def target_of(text: str) -> Implementation:
    """What an atlas is asked for: a normalizer with options as command lines write them, or `module:function`."""
    name, options = parse_choice(text)
    return implementation(name, **CLAIMED.get(name, {}) | options)


def falls(text: str, *, properties: Sequence[str] = FALLS, examples: int = EXAMPLES) -> list[Fall]:
    """Search for the smallest batches on which properties fall; deterministic.

    Args:
        text: See `target_of`.
        properties: Ids of the properties.
        examples: Cases to try for each.

    Raises:
        RaisedError: It raised, and did not mean to.
        GdpoBenchError: There is no such thing, or it cannot be called.
    """
    tested, found = target_of(text), []
    for id in properties:
        finding = examine(tested, PROPERTIES[id], examples=examples)
        if finding.status == "crashes":
            raise RaisedError(f"{text} raised: {finding.problem}\n{finding.counterexample}")
        if finding.counterexample is not None:
            case = finding.counterexample
            found.append(Fall(PROPERTIES[id], case, advantages_of(tested, case), finding.problem))
    return found


def advantages_of(tested: Implementation, case: Case) -> Tensor | None:
    """Advantages (N,) of a batch, or None where they are not finite."""
    try:
        return tested(case)
    except NormalizerOutputError:
        return None


def page(text: str, found: Sequence[Fall]) -> str:
    """An estimator's page, for a terminal."""
    if not found:
        return f"{text}: nothing of the atlas breaks it ({', '.join(FALLS)})."
    return "\n\n".join([f"{text}: {len(found)} of {len(FALLS)} properties fall.", *map(str, found)])


def as_markdown() -> Iterator[str]:
    """The whole atlas, a section a target; takes minutes."""
    yield f"{KINDS}\n\n{kinds_table()}\n"
    for text in TARGETS:
        declared = [id for id in FALLS if id in EXCEPTIONS[text]] if text in EXCEPTIONS else FALLS
        found = falls(text, properties=declared)
        lines = [f"### `{text}`", ""]
        if not found:
            lines += [f"Nothing found: {', '.join(f'`{id}`' for id in FALLS)} hold.", ""]
        for fall in found:
            lines += [f"**`{fall.prop.id}`.** {fall.prop.says}", "", "```", *str(fall.case).splitlines()]
            lines += [f"advantages = {shown(fall.advantages)}", f"→ {fall.problem}", "```", ""]
        yield "\n".join(lines)


def kinds_table() -> str:
    """How many kinds of advantages estimators tell apart at G = 4, n = 4, as Markdown.

    An estimator whose advantages depend on the other groups of a batch has no such number, and no row.
    """
    rows = ["| estimator | kinds |", "|---|---:|"]
    for name, options in CLAIMED.items():
        try:
            text = name + "".join(f":{key}={value}" for key, value in options.items())
            rows.append(f"| `{name}` | {count_kinds(text, 4, 4)} |")
        except DomainError:
            continue
    return "\n".join(rows)


def recorded(markdown: str) -> Iterator[tuple[str, str, Case, str, str]]:
    """What a written atlas holds: target, property, batch, advantages and problem."""
    for section in markdown.split("### `")[1:]:
        target = section.partition("`")[0]
        for id, block in re.findall(r"\*\*`([\w-]+)`\.\*\*.*?```\n(.*?)```", section, flags=re.DOTALL):
            *lines, advantages, problem = block.strip().splitlines()
            yield target, id, _case(lines), advantages.removeprefix("advantages = "), problem.removeprefix("→ ")


def _case(lines: Sequence[str]) -> Case:
    """A batch from its lines."""
    values = {name: value for name, _, value in (line.partition(" = ") for line in lines)}
    dtype = getattr(torch, values.pop("dtype", "torch.float64").removeprefix("torch."))
    read = {name: ast.literal_eval(value) for name, value in values.items()}
    columns, n = len(read["rewards"][0]), len(read["groups"])
    return Case(**{"weights": [1.0] * columns, "lengths": [10] * n, **read}, dtype=dtype)
