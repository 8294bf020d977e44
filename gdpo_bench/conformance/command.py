"""`gdpo-bench conformance`: test normalizers, or your own function, and print the matrix."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gdpo_bench.conformance.claims import CLAIMED, EXCEPTIONS
from gdpo_bench.conformance.implementation import implementation
from gdpo_bench.conformance.report import as_junit, as_markdown, as_text, property_table, write_section
from gdpo_bench.conformance.suite import Finding, examine_all
from gdpo_bench.files import write_atomically


def main(
    targets: Sequence[str] = (),
    *,
    properties: Sequence[str] = (),
    exceptions: Sequence[str] = (),
    examples: int = 25,
    junit: Path | None = None,
    markdown: Path | None = None,
    section: str = "ours",
) -> int:
    """Search for counterexamples to the properties of advantage estimators.

    Args:
        targets: Registered normalizers, or `module:function` for your own; by default all of ours.
        properties: Ids of the properties to test; by default all.
        exceptions: Ids of properties that your function is known not to have. Like the exceptions
            that our table declares, each must have a counterexample.
        examples: Cases to try for each property.
        junit: Write the result to this file as JUnit XML.
        markdown: Write the matrix into this Markdown file.
        section: Which generated section of that file.

    Returns:
        0 if everything is as declared, 1 otherwise.

    Raises:
        UnknownNameError: No such normalizer or property.
    """
    columns: list[list[Finding]] = []
    for target in targets or CLAIMED:
        declared = dict(EXCEPTIONS.get(target, {})) | dict.fromkeys(exceptions, "an exception of the command line")
        tested = implementation(target, **CLAIMED.get(target, {}))
        print(f"Testing {target} …", file=sys.stderr)
        findings = examine_all(tested, exceptions=declared, properties=properties or None, examples=examples)
        columns.append(findings)
    print(as_text(columns))
    if junit is not None:
        write_atomically(junit, as_junit(columns))
    if markdown is not None:
        write_section(markdown, section, as_markdown(columns))
        if section == "ours":
            write_section(markdown, "properties", property_table())
    return 0 if all(finding.as_declared for findings in columns for finding in findings) else 1
