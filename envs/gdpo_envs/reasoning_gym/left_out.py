"""Tasks of reasoning-gym 0.1.25 that are no environments here, and why; `tox -e reasoning-gym` checks all others."""

_SLOW = "drawing 25 questions takes more than a minute"
_EVALUATES = "its scorer evaluates replies as Python, in this process and without a sandbox"
_UNSEEDED = "its questions do not follow from the seed alone (PYTHONHASHSEED, or a generator of their own)"

LEFT_OUT = {
    "binary_matrix": _EVALUATES,
    "boxnet": "its generator fails with the package's default options",
    "codeio": _UNSEEDED,
    "composite": "it draws from other tasks, which have ids of their own",
    "countdown": _EVALUATES,
    "futoshiki": _SLOW,
    "intermediate_integration": _EVALUATES,
    "isomorphic_strings": _UNSEEDED,
    "knight_swap": _SLOW,
    "list_functions": _UNSEEDED,
    "n_queens": _EVALUATES,
    "polynomial_multiplication": _EVALUATES,
    "puzzle24": _EVALUATES,
    "ransom_note": _UNSEEDED,
    "simple_integration": _EVALUATES,
    "spiral_matrix": _EVALUATES,
    "string_insertion": _EVALUATES,
    "word_ladder": _UNSEEDED,
    "zebra_puzzles": _SLOW,
}
