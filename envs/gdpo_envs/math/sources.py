"""The sources of competition mathematics: for training DeepScaleR or MATH, for evaluation five benchmarks.

Each is read by the one loader, from a data folder or from the hub at a pinned commit, and comes out as the same
kind of task. Licences: DeepScaleR-Preview, MATH and MATH-500 are MIT, OlympiadBench is Apache-2.0; the cards of
AIME 2024, AMC and Minerva name none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from gdpo_bench.core import DataError, Task
from gdpo_envs.distinct import distinct
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError, load, revision
from gdpo_envs.math.latex import plain

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MathTask(Task):
    """One problem; the prompt is the bare problem."""

    answer: str
    """The right answer, in LaTeX, without a box or dollar signs around it."""
    solution: str
    """The published solution, or "" where there is none."""


@dataclass(frozen=True)
class ProblemSet:
    """A source, and how its rows are read."""

    source: Source
    """Its only split is "all"."""
    convert: Callable[[Row], MathTask]


def _task(problem: str, answer: str, solution: str | None) -> MathTask:
    if not (answer := _undressed(answer)):
        raise UnusableRowError("it has no answer")
    return MathTask(problem.strip(), answer, (solution or "").strip())


def _undressed(answer: str) -> str:
    """An answer without one pair of dollar signs around all of it."""
    answer = answer.strip()
    whole = len(answer) > 1 and answer[0] == answer[-1] == "$" and "$" not in answer[1:-1]
    return answer[1:-1].strip() if whole else answer


def _competition(row: Row) -> MathTask:
    return _task(row["problem"], row["answer"], row.get("solution"))


def _amc(row: Row) -> MathTask:
    value: float = row["answer"]  # all answers are published as floats, most of them whole: 142.0
    return _task(row["problem"], str(int(value)) if value.is_integer() else str(value), None)


def _minerva(row: Row) -> MathTask:
    return _task(row["question"], row["answer"], None)


def _olympiad(row: Row) -> MathTask:
    solutions = row.get("solution") or [None]
    return _task(row["question"], ", ".join(map(_undressed, row["final_answer"])), solutions[0])


_PROBLEM = {"problem": str, "answer": str}
SETS = {
    "deepscaler": ProblemSet(
        Source(
            hub="agentica-org/DeepScaleR-Preview-Dataset",
            revision="b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29",
            splits={"all": SplitFiles(hub="train", local=("deepscaler/deepscaler.json", "deepscaler/*.parquet"))},
            columns=_PROBLEM,
        ),
        _competition,
    ),
    "math": ProblemSet(
        Source(
            hub="agentica-project/rllm",
            revision="874daa4acb7f451dc2a4b2b6e8ce28f5aa88d1f5",
            splits={
                "all": SplitFiles(
                    hub="https://raw.githubusercontent.com/agentica-project/rllm/"
                    "874daa4acb7f451dc2a4b2b6e8ce28f5aa88d1f5/rllm/data/train/math/math.json",
                    local="math_train/train_math.json",
                )
            },
            columns=_PROBLEM,
        ),
        _competition,
    ),
    "math500": ProblemSet(
        Source(
            hub="HuggingFaceH4/MATH-500",
            revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
            splits={"all": SplitFiles(hub="test", local=("math500/math500.jsonl", "math500/test.jsonl"))},
            columns=_PROBLEM,
        ),
        _competition,
    ),
    "aime24": ProblemSet(
        Source(
            hub="HuggingFaceH4/aime_2024",
            revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
            splits={"all": SplitFiles(hub="train", local="aime_2024/*train*")},
            columns=_PROBLEM,
        ),
        _competition,
    ),
    "amc": ProblemSet(
        Source(
            hub="AI-MO/aimo-validation-amc",
            revision="b16c5c52362a8f0acafef95fd6d94a8468982e08",
            splits={"all": SplitFiles(hub="train", local="aimo-validation-amc/*train*")},
            columns={"problem": str, "answer": float},
        ),
        _amc,
    ),
    "minerva": ProblemSet(
        Source(
            hub="math-ai/minervamath",
            revision="ee46ddc498933b1977577953250ca5c66be64f96",
            splits={"all": SplitFiles(hub="test", local="minervamath/test*")},
            columns={"question": str, "answer": str},
        ),
        _minerva,
    ),
    "olympiad": ProblemSet(
        Source(
            hub="Hothan/OlympiadBench",
            revision="91184b52131e7fc9455fef848035173aea8cc01a",
            config="OE_TO_maths_en_COMP",
            splits={"all": SplitFiles(hub="train", local="OlympiadBench/OE_TO_maths_en_COMP*")},
            columns={"question": str, "final_answer": list},
        ),
        _olympiad,
    ),
}
"""Name → problem set."""
EVALUATION = ("math500", "aime24", "amc", "minerva", "olympiad")
"""Those that training must not have seen."""


def set_revision(name: str, data_dir: str | None) -> str:
    """Which version of a problem set is read: see `gdpo_envs.loading.revision`."""
    return revision(SETS[name].source, data_dir)


def revisions(names: Sequence[str], data_dir: str | None) -> dict[str, str]:
    """Name → revision of those of the sets that are in the data folder; from the hub, of all."""
    found = {}
    for name in names:
        with suppress(DataError):
            found[name] = set_revision(name, data_dir)
    return found


@lru_cache(maxsize=8)
def problems(name: str, data_dir: str | None, version: str) -> Sequence[MathTask]:
    """The problems of a set without repetitions, in its order.

    Args:
        name: Of the problem set.
        data_dir: Folder of local data, see `load`.
        version: The set's revision: other data are read anew.

    Raises:
        DataError: The data are not there or not as expected.
    """
    chosen = SETS[name]
    rows = load(chosen.source, "all", chosen.convert, data_dir).rows
    return distinct(rows, chosen.source.hub, key=content_key)


@lru_cache(maxsize=2)
def training_problems(
    name: str, data_dir: str | None, version: str, held_out: tuple[tuple[str, str], ...]
) -> Sequence[MathTask]:
    """The problems of a training set that are in none of the evaluation sets.

    Args:
        name: Of the problem set.
        data_dir: Folder of local data, see `load`.
        version: The set's revision.
        held_out: Names and revisions of the evaluation sets, see `revisions`.

    Raises:
        DataError: The data are not there or not as expected.
    """
    if missing := [other for other in EVALUATION if other not in dict(held_out)]:
        _log.warning("%s: not compared with %s, which are not in the data folder", name, ", ".join(missing))
    seen = {content_key(task) for other, revised in held_out for task in problems(other, data_dir, revised)}
    return distinct(problems(name, data_dir, version), SETS[name].source.hub, seen, content_key)


def content_key(task: MathTask) -> str:
    """Equal for problems that differ only in spaces, capitals, or how they are set in LaTeX."""
    return re.sub(r"\s", "", plain(task.prompt)).casefold()
