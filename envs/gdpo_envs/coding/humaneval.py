"""HumanEval: 164 functions to complete from signature and docstring.

Source: `openai/openai_humaneval` (Chen et al., arXiv 2107.03374, MIT licence). The published tests
are Python source; `gdpo_envs.coding.asserts` makes arguments and expected values of them without
running anything. Of four tasks the tests draw random arguments, and their pairs are drawn here:

- 32 `find_zero`: any zero of the polynomial is right, so the answer is put into it.
- 38 `decode_cyclic`, 50 `decode_shift`: texts encoded as the problem says.
- 53 `add`: sums.

In 33 `sort_third`, three of the published tests compare the function with itself. They say nothing
and are left out.

How sharp the tests are: of 656 reference solutions with one character changed 99.1 % fail, and 97.5 %
of those that still compile.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/HumanEval-v0 --policy oracle
"""

from __future__ import annotations

import ast
import string
from collections.abc import Callable
from random import Random

from gdpo_envs.coding.asserts import parse, read_asserts
from gdpo_envs.coding.problem import Case, CodeTask, call_case
from gdpo_envs.coding.published import PublishedCoding
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError

SOURCE = Source(
    hub="openai/openai_humaneval",
    revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
    splits={"eval": SplitFiles(hub="test", local="humaneval/HumanEval.jsonl*")},
    columns={"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str, "test": str},
)
_DRAWN = 100


class HumanEval(PublishedCoding):
    """Functions to complete; for evaluation only.

    Values are compared by Python's `==`, as published. Every program begins with the imports and
    helpers that stand before the function in the problem.

    Version history: revision 2 of the grader, as `PublishedCoding` says.
    """

    data_licence = "MIT"

    splits = ("eval",)
    source = SOURCE

    @classmethod
    def convert(cls, row: Row, split: str, limit: int) -> CodeTask:
        """The problem of a row."""
        entry = row["entry_point"]
        cases = _cases(row["task_id"], row["test"])
        if not cases:
            raise UnusableRowError(f"{row['task_id']}: no test can be made of 'test'")
        return CodeTask(
            prompt=f"Complete this function:\n\n```python\n{row['prompt'].strip()}\n```",
            mode="call",
            entry=entry,
            preamble=row["prompt"].partition(f"def {entry}(")[0].strip(),
            tests=cases,
            limit=limit,
            solution=row["prompt"] + row["canonical_solution"],
        )


def _cases(task_id: str, source: str) -> list[Case]:
    if task_id in _DRAWN_CASES:
        return _DRAWN_CASES[task_id](Random(task_id))
    functions = (node for node in parse(source, "test") if isinstance(node, ast.FunctionDef))
    check = next((function for function in functions if function.name == "check"), None)
    return read_asserts(check.body, "candidate").cases if check else []


def _zeros(rng: Random) -> list[Case]:
    """An even number of coefficients, the last not 0: such a polynomial has a zero."""
    cases = []
    for _ in range(_DRAWN):
        coefficients = [rng.choice((-1, 1)) * rng.randint(1, 10) for _ in range(2 * rng.randint(1, 4))]
        cases.append(call_case((coefficients,), coefficients, "root:0.0001"))
    return cases


def _cyclic(rng: Random) -> list[Case]:
    def encode(text: str) -> str:
        groups = [text[i : i + 3] for i in range(0, len(text), 3)]
        return "".join(group[1:] + group[0] if len(group) == 3 else group for group in groups)

    return [call_case((encode(text),), text, "equal") for text in _words(rng)]


def _shifted(rng: Random) -> list[Case]:
    letters = string.ascii_lowercase
    code = str.maketrans(letters, letters[5:] + letters[:5])
    return [call_case((text.translate(code),), text, "equal") for text in _words(rng)]


def _sums(rng: Random) -> list[Case]:
    pairs = [(0, 1), (1, 0), (2, 3), (5, 7), (7, 5)]
    pairs += [(rng.randint(0, 1000), rng.randint(0, 1000)) for _ in range(_DRAWN)]
    return [call_case(pair, sum(pair), "equal") for pair in pairs]


def _words(rng: Random) -> list[str]:
    return ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(10, 20))) for _ in range(_DRAWN)]


_DRAWN_CASES: dict[str, Callable[[Random], list[Case]]] = {
    "HumanEval/32": _zeros,
    "HumanEval/38": _cyclic,
    "HumanEval/50": _shifted,
    "HumanEval/53": _sums,
}
