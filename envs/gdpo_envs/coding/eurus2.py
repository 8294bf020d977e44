"""Eurus-2: the coding half of the data that the paper trains on.

Source: `PRIME-RL/Eurus-2-RL-Data` (Cui et al., arXiv 2502.01456, MIT licence): 25,276 problems of APPS,
TACO, CodeContests and Codeforces, read row by row out of 1.7 GB. Rows of other subjects are passed
over. Of the published messages only the user's is kept: the system's describes a protocol of
its own authors. The data's first layout (`source`, `task`, `reference`) is read too.

    python -m gdpo_bench.run --envs gdpo/Eurus2Code-v0:max_tasks=1000 --policy replay:completions.jsonl
"""

from __future__ import annotations

from gdpo_envs.coding.io_tests import IMPORTS, cases_from, read_json
from gdpo_envs.coding.problem import CodeTask
from gdpo_envs.coding.published import PublishedCoding
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError

SOURCE = Source(
    hub="PRIME-RL/Eurus-2-RL-Data",
    revision="9776b13264b5aaa0b16495fcf086a0a8d86fd655",
    splits={
        "train": SplitFiles(hub="train", local="eurus2/train*.parquet"),
        "eval": SplitFiles(hub="validation", local="eurus2/validation*.parquet"),
    },
    columns={"data_source": str, "prompt": list, "ability": str, "reward_model": dict},
    other_columns=({"source": str, "task": str, "reference": str},),
    streaming=True,
)
_SOURCES = ("apps", "taco", "codecontests", "codeforces")


class Eurus2Code(PublishedCoding):
    """Programs that read standard input, and some functions.

    Version history: revision 2 of the grader, as `PublishedCoding` says.
    """

    data_licence = "MIT"

    source = SOURCE

    @classmethod
    def convert(cls, row: Row, split: str, limit: int) -> CodeTask | None:
        """The problem of a row, in either layout."""
        if "task" in row:
            if row["source"] not in _SOURCES:
                return None
            statement, truth = row["task"].strip(), row["reference"]
        else:
            if row["ability"] != "code":
                return None
            asked = [message["content"] for message in row["prompt"] if message["role"] == "user"]
            truth = row["reward_model"].get("ground_truth")
            if len(asked) != 1 or not isinstance(truth, str):
                raise UnusableRowError("'prompt' must hold one user's message, and 'reward_model' a ground truth")
            statement = asked[0].strip()
        cases, function = cases_from(read_json(truth, "the ground truth"), statement)
        return CodeTask(
            prompt=statement,
            mode="call" if function else "stdio",
            entry=function,
            preamble=IMPORTS if function else "",
            tests=cases,
            limit=limit,
        )
