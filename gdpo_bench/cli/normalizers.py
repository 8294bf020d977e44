"""`gdpo-bench normalizers`, `collapse` and `conformance`. Torch is imported only when they run."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from gdpo_bench.cli.terminal import make_console
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.files import write_atomically


def normalizers(name: tyro.conf.Positional[str | None] = None, /) -> None:
    """List normalizers, or explain one: formula, source, options.

    Args:
        name: A normalizer to explain; module:function for your own. Without it, all are listed.
    """
    from gdpo_bench.advantages.describe import explained, listed  # noqa: PLC0415

    console = make_console()
    if name is not None:
        console.print(explained(name))
        return
    console.print(listed())
    console.print("\nAll about one: gdpo-bench normalizers NAME. Your own: docs/new-normalizer.md.", highlight=False)


def collapse(
    normalizers: tuple[str, ...] = ("grpo", "grpo_no_std", "gdpo_no_bn"),
    max_multisets: int = 60_000,
    out: Path = Path("collapse.png"),
) -> None:
    """Count which reward vectors normalizers can tell apart.

    Args:
        normalizers: What to count for, without batch whitening; `pass_at_k:k=2` sets options.
        max_multisets: Leave out points with more groups than this.
        out: The picture, like Figure 3 of the GDPO paper.
    """
    from gdpo_bench.advantages.collapse import as_text, figure_3, plot  # noqa: PLC0415

    panels = figure_3(normalizers, max_multisets)
    print(as_text(panels))
    plot(panels, out)
    print(f"\nPicture: {out}")


def atlas(
    target: tyro.conf.Positional[str | None] = None, /, *, examples: int = 200, markdown: Path | None = None
) -> None:
    """Show the smallest batches that break an estimator.

    Args:
        target: A normalizer, perhaps with options (grpo:preset=nemo-rl@0.7), or module:function for your own, which is
            called as by `gdpo-bench conformance`. Without it, all of ours and what frameworks compute: takes minutes.
        examples: Cases to try for each property.
        markdown: Write all into this Markdown file's generated section.
    """
    _need_hypothesis("The atlas")
    from gdpo_bench.conformance.atlas import as_markdown, falls, page  # noqa: PLC0415
    from gdpo_bench.conformance.report import write_section  # noqa: PLC0415

    if target is not None:
        print(page(target, falls(target, examples=examples)))
        return
    sections = []
    for section in as_markdown():
        print(section, flush=True)
        sections.append(section)
    if markdown is not None:
        write_section(markdown, "atlas", "\n".join(sections))


def _need_hypothesis(what: str) -> None:
    try:
        import hypothesis  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise GdpoBenchError(f"{what} needs hypothesis: pip install 'gdpo-bench[conformance]'.") from error


def conformance(
    targets: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    properties: tuple[str, ...] = (),
    exceptions: tuple[str, ...] = (),
    examples: int = 25,
    junit: Path | None = None,
    markdown: Path | None = None,
    section: str = "ours",
) -> int:
    """Search for counterexamples to properties of normalizers.

    Args:
        targets: Registered normalizers, or module:function for your own; by default all of ours. Your function gets
            tensors by name: rewards (N, K) and groups (N,), and weights (K,), lengths (N,), applicable and failed
            (N, K) or None, and specs, where it has such parameters; it returns advantages (N,).
        properties: Ids of the properties to test; by default all.
        exceptions: Ids of properties that your function is known not to have. Like the exceptions
            that our table declares, each must have a counterexample.
        examples: Cases to try for each property.
        junit: Write the result to this file as JUnit XML.
        markdown: Write the matrix into this Markdown file, and what the properties say where it has
            a section for them.
        section: Which generated section of that file.

    Returns:
        0 if everything is as declared, 1 otherwise, also where a function cannot be called.
    """
    if examples < 1:
        raise GdpoBenchError(f"--examples must be at least 1; got {examples}.")
    _need_hypothesis("The conformance suite")
    from gdpo_bench.conformance import CLAIMED, EXCEPTIONS, CannotCallError, examine_all, implementation  # noqa: PLC0415
    from gdpo_bench.conformance.report import (  # noqa: PLC0415
        as_junit,
        as_markdown,
        as_text,
        property_table,
        write_section,
    )

    columns, uncallable = [], {}
    for target in targets or CLAIMED:
        print(f"Testing {target} …", file=sys.stderr)
        try:
            tested = implementation(target, **CLAIMED.get(target, {}))
        except CannotCallError as error:
            uncallable[target] = str(error)
            print(error, file=sys.stderr)
            continue
        declared = EXCEPTIONS.get(target, {}) | dict.fromkeys(exceptions, "an exception of the command line")
        columns.append(examine_all(tested, exceptions=declared, properties=properties or None, examples=examples))
    if columns:
        print(as_text(columns))
    if junit is not None:
        write_atomically(junit, as_junit(columns, uncallable))
    if markdown is not None and columns:
        write_section(markdown, section, as_markdown(columns))
        if "<!-- begin properties -->" in markdown.read_text(encoding="utf-8"):
            write_section(markdown, "properties", property_table())
    as_declared = all(finding.as_declared for findings in columns for finding in findings)
    return 0 if as_declared and not uncallable else 1
