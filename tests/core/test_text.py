"""Text of authors, as a terminal shows it."""

import pytest

from gdpo_bench.core.text import unwrapped


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("Prose that\ngoes on\n`so`.\n\nAnd on.", "Prose that goes on `so`.\n\nAnd on."),
        (
            "A formula:\n\n    a = 1\n    b = 2\n\nand a word\nmore",
            "A formula:\n\n    a = 1\n    b = 2\n\nand a word more",
        ),
        ("Version history:\n    v1: Split.\n    v0: First.", "Version history:\n    v1: Split.\n    v0: First."),
        (
            "History:\n    v1: Split,\n        anew.\n    2: Then\n        so.",
            "History:\n    v1: Split, anew.\n    2: Then so.",
        ),
        ("    a = b\n        + c", "    a = b\n        + c"),
        ("- one\n- two\n* three\n1. four", "- one\n- two\n* three\n1. four"),
        ("| a |\n|---|\n>>> f()", "| a |\n|---|\n>>> f()"),
    ],
)
def test_prose_fills_the_line_and_what_is_laid_out_stays(docstring: str, shown: str) -> None:
    assert unwrapped(docstring) == shown
