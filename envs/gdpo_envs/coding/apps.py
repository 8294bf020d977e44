"""APPS: problems from Codeforces, LeetCode, Codewars and others, as programs or functions.

Source: `codeparrot/apps` (Hendrycks et al., arXiv 2105.09938, MIT licence), or a folder of problems as
published first, each a folder with `question.txt`, `input_output.json` and `solutions.json`. The
published solutions have not all been checked; of the first 35 programs that we ran three fail.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/APPS-v0 --policy oracle
"""

from __future__ import annotations

from gdpo_envs.coding.io_tests import IMPORTS, cases_from, read_json
from gdpo_envs.coding.problem import CodeTask
from gdpo_envs.coding.published import PublishedCoding
from gdpo_envs.loading import Row, Source, SplitFiles

SOURCE = Source(
    hub="codeparrot/apps",
    revision="21e74ddf8de1a21436da12e3e653065c5213e9d1",
    splits={
        "train": SplitFiles(hub="train.jsonl", local=("apps/train.jsonl", "apps/train/*/")),
        "eval": SplitFiles(hub="test.jsonl", local=("apps/test.jsonl", "apps/test/*/", "apps_sample/*/")),
    },
    columns={"question": str, "input_output": str},
    streaming=True,
)


class APPS(PublishedCoding):
    """Programs that read standard input, and functions.

    Version history: revision 2 of the grader, as `PublishedCoding` says.
    """

    data_licence = "MIT"

    source = SOURCE

    @classmethod
    def convert(cls, row: Row, split: str, limit: int) -> CodeTask:
        """The problem of a row."""
        statement = row["question"].strip()
        cases, function = cases_from(read_json(row["input_output"], "'input_output'"), statement)
        starter = (row.get("starter_code") or "").strip()
        solutions = read_json(row.get("solutions") or "[]", "'solutions'")
        return CodeTask(
            prompt=f"{statement}\n\n```python\n{starter}\n```" if starter else statement,
            mode="call" if function else "stdio",
            entry=function,
            preamble=IMPORTS if function else "",
            tests=cases,
            limit=limit,
            solution=solutions[0] if solutions and isinstance(solutions[0], str) else None,
        )
