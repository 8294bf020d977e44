"""Findings as text for a terminal, as Markdown for the docs, and as JUnit for CI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from gdpo_bench.conformance.properties import PROPERTIES
from gdpo_bench.conformance.suite import Finding
from gdpo_bench.core.errors import DataError
from gdpo_bench.core.files import write_atomically

_SYMBOLS = {"holds": "✓", "fails": "✗", "outside": "–", "crashes": "?"}
LEGEND = "✓ no counterexample   ✗ fails   – does not apply   ? raises   ! not as declared"
_TERMINAL = 80
"""Columns that a row of the matrix takes at most; what is left of it follows below."""
_CELL = 3
"""Columns of a number, or of a mark."""


def symbol(finding: Finding) -> str:
    """One character for the status, and `!` if it is not what was declared."""
    return _SYMBOLS[finding.status] + ("" if finding.as_declared else "!")


def as_text(columns: Sequence[Sequence[Finding]]) -> str:
    """The matrix, and every finding that is not as declared with its counterexample.

    Args:
        columns: For each implementation its findings, of the same properties in the same order.
    """
    width = max(len(findings[0].implementation) for findings in columns)
    lines = [f"{i:>3}  {finding.prop.id}: {finding.prop.says}" for i, finding in enumerate(columns[0], 1)]
    across = max(1, (_TERMINAL - width) // _CELL)
    for first in range(0, len(columns[0]), across):
        numbers = range(first + 1, min(first + across, len(columns[0])) + 1)
        lines += ["", " " * width + "".join(f"{number:>{_CELL}}" for number in numbers)]
        for findings in columns:
            cells = "".join(f"{symbol(finding):>{_CELL}}" for finding in findings[first : first + across])
            lines.append(f"{findings[0].implementation:<{width}}{cells}")
    lines += ["", LEGEND]
    unexpected = [finding for findings in columns for finding in findings if not finding.as_declared]
    said: dict[tuple[str, str], list[str]] = {}
    for finding in unexpected:
        once = (finding.implementation, finding.problem if finding.status == "crashes" else finding.prop.id)
        if once not in said:
            lines += ["", str(finding)]
        said.setdefault(once, []).append(finding.prop.id)
    for (implementation, problem), ids in said.items():
        if len(ids) > 1:
            lines += ["", f"{implementation} raises the same ({problem}) for: {', '.join(ids[1:])}"]
    return "\n".join(lines)


def as_markdown(columns: Sequence[Sequence[Finding]]) -> str:
    """The matrix, the reasons for declared exceptions, and the counterexamples."""
    names = [f"`{findings[0].implementation}`" for findings in columns]
    lines = ["| property | " + " | ".join(names) + " |", "|---|" + ":-:|" * len(names)]
    for row in zip(*columns, strict=True):
        lines.append(f"| `{row[0].prop.id}` | " + " | ".join(_SYMBOLS[finding.status] for finding in row) + " |")
    lines += ["", "✓ no counterexample found; ✗ fails; – does not apply.", ""]
    failures = [finding for findings in columns for finding in findings if finding.status == "fails"]
    if failures:
        lines += ["<details><summary>What fails, why, and the smallest counterexample found</summary>", ""]
        for finding in failures:
            reason = finding.reason[0].upper() + finding.reason[1:] + "." if finding.reason else ""
            lines += [f"**`{finding.implementation}`: `{finding.prop.id}`.** {reason}".rstrip(), "", "```"]
            lines += [*str(finding.counterexample).splitlines(), f"→ {finding.problem}", "```", ""]
        lines += ["</details>", ""]
    return "\n".join(lines)


def property_table() -> str:
    """All properties with what they say and why they matter, as Markdown."""
    rows = [f"| `{p.id}` | {p.says} | {p.why} |" for p in PROPERTIES.values()]
    return "\n".join(["| property | says | why it matters |", "|---|---|---|", *rows, ""])


def as_junit(columns: Sequence[Sequence[Finding]], uncallable: Mapping[str, str]) -> bytes:
    """One test case for each implementation and property; JUnit XML.

    Args:
        columns: As of `as_text`.
        uncallable: Target → why it cannot be tested at all.
    """
    suites = ElementTree.Element("testsuites")
    for target, problem in uncallable.items():
        suite = ElementTree.SubElement(suites, "testsuite", name=f"conformance of {target}", tests="1", errors="1")
        case = ElementTree.SubElement(suite, "testcase", classname=target, name="can be called")
        ElementTree.SubElement(case, "error", message=problem)
    for findings in columns:
        failures = [finding for finding in findings if not finding.as_declared]
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=f"conformance of {findings[0].implementation}",
            tests=str(len(findings)),
            failures=str(len(failures)),
            skipped=str(sum(finding.status == "outside" for finding in findings)),
        )
        for finding in findings:
            case = ElementTree.SubElement(suite, "testcase", classname=finding.implementation, name=finding.prop.id)
            if finding.status == "outside":
                ElementTree.SubElement(case, "skipped", message="does not apply")
            elif not finding.as_declared:
                ElementTree.SubElement(case, "failure", message=finding.prop.says).text = str(finding)
    xml: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return xml


def write_section(path: Path, section: str, text: str) -> None:
    """Replace one generated section of a Markdown file.

    Args:
        path: A file with the lines `<!-- begin SECTION -->` and `<!-- end SECTION -->`, or none yet.
        section: The section's name.
        text: What shall stand between the two lines.

    Raises:
        DataError: The file exists and has no such section.
    """
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    old = path.read_text(encoding="utf-8") if path.is_file() else f"{begin}\n{end}\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(old):
        raise DataError(f"{path} has no section between {begin!r} and {end!r}; add the two lines where it shall stand.")
    write_atomically(path, pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", old))
