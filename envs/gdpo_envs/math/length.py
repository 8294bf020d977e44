"""How long a reply is, in tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from gdpo_bench.core import Gate, RewardSpec

_PIECE = re.compile(
    r"""[^\w\s]? [^\W\d_\u0500-\U0010ffff]{1,12}    # a word, with the backslash, bracket or quote before it
      | \  [^\W\d_\u0500-\U0010ffff]{1,12}           # … or with the space
      | [^\W\d_]{1,2}                               # letters of other scripts
      | [0-9]                                       # each digit by itself
      | \ ?(?:[^\w\s]|_){1,4} \n*                   # punctuation and operators
      | \s*\n+ | \s{1,12}                           # white space
      | .                                           # anything else
    """,
    re.VERBOSE | re.DOTALL,
)
"""The cuts that the tokenizers of Qwen2 to Qwen3, DeepSeek-R1-Distill-Qwen included, make before they
merge, with an end to long runs. Common words and LaTeX commands are one token each."""


def conditioned(specs: Sequence[RewardSpec]) -> tuple[RewardSpec, ...]:
    """The declarations, with a `length` that counts only where the answer is `correct`.

    Source: the conditioned reward of arXiv 2601.05242, Section 3.2.
    """
    return tuple(replace(spec, gate=Gate("correct", 1)) if spec.name == "length" else spec for spec in specs)


def token_count(text: str, tokenizer: str | None = None) -> int:
    """The number of tokens of a text.

    Args:
        text: The text.
        tokenizer: Name of a tokenizer on the Hugging Face hub, or the folder or file of one. Without it,
            nothing is loaded, and the pieces are counted that Qwen's tokenizers cut a text into before
            they merge bytes: close to their count on English mathematics, and mostly a little below.

    Returns:
        The count; special tokens are not added.
    """
    if tokenizer is None:
        return sum(1 for _ in _PIECE.finditer(text))
    # A lone surrogate, which a reply may hold, has no bytes to be tokenized.
    return len(_load(tokenizer).encode(text.encode(errors="replace").decode(), add_special_tokens=False))


@lru_cache(maxsize=4)
def _load(name: str) -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415 (only where it is asked for)

    path = Path(name).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    return Tokenizer.from_file(str(file)) if file.is_file() else Tokenizer.from_pretrained(name)
