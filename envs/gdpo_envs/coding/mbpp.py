"""MBPP: short functions from a sentence, those that its authors have checked by hand.

Source: `google-research-datasets/mbpp`, `sanitized` (Austin et al., arXiv 2108.07732, CC-BY-4.0). As
with HumanEval the tests are made of published asserts without running anything. Task 596 is left
out: what it expects is the size of an object in the interpreter's memory. Of 1,592 reference solutions
with one character changed 99.1 % fail, and 97.9 % of those that still compile.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/MBPP-v0 --policy oracle
"""

from __future__ import annotations

import ast

from gdpo_envs.coding.asserts import parse, read_asserts
from gdpo_envs.coding.problem import CodeTask
from gdpo_envs.coding.published import PublishedCoding
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError

_FILES = ("mbpp/sanitized-mbpp.json", "mbpp/new_mbpp.json")
SOURCE = Source(
    hub="google-research-datasets/mbpp",
    config="sanitized",
    revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    splits={
        "train": SplitFiles(hub="train+validation+prompt", local=_FILES),
        "eval": SplitFiles(hub="test", local=_FILES),
    },
    columns={"task_id": int, "prompt": str, "code": str, "test_imports": list, "test_list": list},
)
_TEST = range(11, 511)
"""Ids of the published test split; of files that hold all splits, those tell them apart."""


class MBPP(PublishedCoding):
    """Functions from a sentence and one of the asserts that they are tested by; the others are not shown.

    Values are compared by Python's `==`, as published.

    Version history: revision 2 of the grader, as `PublishedCoding` says.
    """

    data_licence = "CC-BY-4.0"

    source = SOURCE

    @classmethod
    def convert(cls, row: Row, split: str, limit: int) -> CodeTask | None:
        """The problem of a row."""
        if (row["task_id"] in _TEST) != (split == "eval"):
            return None
        where = f"task {row['task_id']}"
        statements = parse("\n".join(row["test_list"]), "test_list")
        entry = _function(row["code"], statements)
        if entry is None:
            raise UnusableRowError(f"{where}: the tests call no function that 'code' defines")
        found = read_asserts(statements, entry)
        if not found.cases:
            raise UnusableRowError(f"{where}: no test can be made of 'test_list': {'; '.join(found.unread)}")
        return CodeTask(
            prompt=f"{row['prompt'].strip()}\n{row['test_list'][0].strip()}",
            mode="call",
            entry=entry,
            preamble="\n".join(row["test_imports"]),
            tests=found.cases,
            limit=limit,
            solution=row["code"],
        )


def _function(code: str, tests: list[ast.stmt]) -> str | None:
    """The function that the tests call, of those that the solution defines."""
    defined = {node.name for node in parse(code, "code") if isinstance(node, ast.FunctionDef)}
    calls = (node for test in tests for node in ast.walk(test) if isinstance(node, ast.Call))
    return next((node.func.id for node in calls if isinstance(node.func, ast.Name) and node.func.id in defined), None)
