"""The words of a command line, before they are parsed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from gdpo_bench.core.errors import GdpoBenchError


def said_once(arguments: Sequence[str] | None) -> list[str]:
    """The words, none of whose options is given twice: the parser would take the last without a word.

    Args:
        arguments: Without the program's name; those of this process if absent.

    Raises:
        GdpoBenchError: One is given twice.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = [word for word in takewhile(lambda word: word != "--", words) if word.startswith("--")]
    names = Counter(option.partition("=")[0].replace("_", "-") for option in options)
    for name, times in names.items():
        if times > 1:
            raise GdpoBenchError(f"{name} is given twice; give it once. Where it takes several values: {name} A B")
    return words
