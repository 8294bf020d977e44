"""CodeContests: problems of programming contests, with public, private and generated tests.

Source: `deepmind/code_contests` (Li et al., arXiv 2203.07814, CC-BY-4.0), or a folder with its problems
as `problem` and `tests`. Answers are compared by their tokens, so where several answers are right
only the published one counts, as in all scorers of this data that have no checker of their own.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/CodeContests-v0 --policy replay:completions.jsonl
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gdpo_envs.coding.io_tests import cases_from, text_cases
from gdpo_envs.coding.problem import CodeTask
from gdpo_envs.coding.published import PublishedCoding
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError

SOURCE = Source(
    hub="deepmind/code_contests",
    revision="802411c3010cb00d1b05bad57ca77365a3c699d6",
    splits={
        "train": SplitFiles(hub="train", local=("code_contests/train*.json*", "code_contests/**/train*.parquet")),
        "eval": SplitFiles(hub="test", local=("code_contests/test*.json*", "code_contests/**/test*.parquet")),
    },
    columns={"description": str, "public_tests": dict, "private_tests": dict, "generated_tests": dict},
    other_columns=({"problem": str, "tests": dict},),
    streaming=True,
)
_PYTHON3 = 3
"""Its number among the languages of `solutions`."""


class CodeContests(PublishedCoding):
    """Programs that read standard input.

    The published limits of time and memory are meant for compiled languages. Ours are the same for
    all problems.

    Version history: revision 2 of the grader, as `PublishedCoding` says.
    """

    data_licence = "CC-BY-4.0"

    source = SOURCE

    @classmethod
    def convert(cls, row: Row, split: str, limit: int) -> CodeTask:
        """The problem of a row, in either layout."""
        if "problem" in row:
            statement = row["problem"].strip()
            cases, function = cases_from(row["tests"], statement)
        else:
            statement, function = row["description"].strip(), None
            pairs = [pair for kind in ("public", "private", "generated") for pair in _pairs(row[f"{kind}_tests"])]
            cases = text_cases([given for given, _ in pairs], [expected for _, expected in pairs], statement)
        if not cases:
            raise UnusableRowError("there are no tests")
        return CodeTask(
            prompt=statement,
            mode="call" if function else "stdio",
            entry=function,
            preamble="",
            tests=cases,
            limit=limit,
            solution=_python_solution(row.get("solutions")),
        )


def _pairs(tests: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return zip(tests["input"], tests["output"], strict=True)


def _python_solution(solutions: Mapping[str, Any] | None) -> str | None:
    if not solutions:
        return None
    written = zip(solutions["language"], solutions["solution"], strict=True)
    return next((source for language, source in written if language == _PYTHON3 and isinstance(source, str)), None)
