"""The single-turn categories of the Berkeley Function-Calling Leaderboard, version 3, for evaluation.

Source: github.com/ShishirPatil/gorilla at cd9429cc (Apache-2.0). Tools are shown, and calls are written, as in
ToolRL, so that a policy that was trained on `gdpo/ToolCalling-v0` can be evaluated here; the prompt is that of
ToolRL's own evaluation (`benchmarks/BFCL/rlla_qwen.py`, Apache-2.0), with which arXiv 2504.13958 and 2601.05242
report. It differs in one point: a system message that belongs to the task is kept, after ours.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/BFCL3Live-v0:category=live_simple --policy oracle
    python -m gdpo_envs.tool_calling.bfcl_summary replies.jsonl

The second command prints the figures that the leaderboard itself reports, see `bfcl_summary`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from gdpo_bench.core import DataError, Message, Task, TextEnv, UnknownNameError, reward
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError, load, revision
from gdpo_envs.tool_calling.bfcl_checker import right_calls
from gdpo_envs.tool_calling.bfcl_prompt import system_prompt, user_prompt
from gdpo_envs.tool_calling.bfcl_reference import reference_calls
from gdpo_envs.tool_calling.toolrl import Call, format_reward, parse_calls

_COMMIT = "cd9429ccf3d4d04156affe883c495b3b047e6b64"
_FOLDER = f"https://raw.githubusercontent.com/ShishirPatil/gorilla/{_COMMIT}/berkeley-function-call-leaderboard/bfcl_eval/data"
_NO_CALL = "none"
"""The prompt lets a reply call a tool of this name to say that it calls none."""


@dataclass(frozen=True)
class BFCLTask(Task):
    """One question; the prompt is what the user says."""

    case: str
    """BFCL's own id, such as `simple_0`."""
    category: str
    """BFCL's category, such as `live_simple`."""
    system: str
    """The tools, and the format of the reply."""
    functions: list[dict[str, Any]]
    """The tools, as published."""
    answers: list[dict[str, Any]]
    """The true calls, each {name: {parameter: accepted values}}; empty where only making one counts."""

    @property
    def language(self) -> str:
        """Whose literals the values are."""
        return self.category if self.category in ("java", "javascript") else "python"


class BFCL3(TextEnv[BFCLTask]):
    """What all categories share: right calls, in the right format. Evaluation only.

    Revisions of the grader:
        2: A key that stands twice is no JSON; for the format the prompt may open the thought, and an end-of-turn token
            may follow the reply.
    """

    grader_revision = 2
    data_licence = "Apache-2.0"

    splits = ("eval",)
    categories: ClassVar[tuple[str, ...]] = ()

    def __init__(self, category: str | None = None, data_dir: str | None = None) -> None:
        """Set the options.

        Args:
            category: One of the environment's categories alone, such as `live_simple`.
            data_dir: Folder with `bfcl_v3/BFCL_v3_*.json` and `bfcl_v3/possible_answer/BFCL_v3_*.json`.
                Without it the folder that `GDPO_BENCH_DATA` names, and without that the published files.

        Raises:
            UnknownNameError: The environment has no such category.
        """
        if category is not None and category not in self.categories:
            raise UnknownNameError(f"category of {type(self).__name__}", category, self.categories)
        self.category = category
        self.data_dir = data_dir

    def tasks(self, split: str) -> Sequence[BFCLTask]:
        """The questions, category by category, in the order of the source.

        Raises:
            DataError: The data are not there or not as expected.
        """
        chosen = self.categories if self.category is None else (self.category,)
        version = self.data_revision()
        return [task for category in chosen for task in _questions(category, self.data_dir, version)]

    def messages(self, task: BFCLTask) -> list[Message]:
        """ToolRL's prompt for BFCL."""
        return [{"role": "system", "content": task.system}, {"role": "user", "content": task.prompt}]

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def correct(self, task: BFCLTask, reply: str) -> bool:
        """1 if the calls are right; for irrelevance if there is none, for relevance if there is one."""
        calls = made_calls(reply)
        if task.answers:
            return right_calls(calls, task.answers, task.functions, task.language)
        return bool(calls) is (task.category == "live_relevance")

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: BFCLTask, reply: str) -> bool:
        """1 if a thought is followed by tool calls, by a response, or by both, and nothing else."""
        rest = reply.rpartition("</think>")[2]
        calls, response = "<tool_call>" in rest, "<response>" in rest
        return (calls or response) and format_reward(reply, calls, response) == 1

    def reference(self, task: BFCLTask) -> str | None:
        """The first accepted values; None for the few questions that BFCL lets nobody answer."""
        if task.answers:
            calls = reference_calls(task.answers, task.functions, task.language)
        else:
            relevant = task.category == "live_relevance"
            calls = [Call(name=task.functions[0]["name"], parameters={})] if relevant else []
        lines = "".join(f"{json.dumps(call)}\n" for call in calls)
        block = f"<tool_call>\n{lines}</tool_call>" if calls else "<response>No tool fits this request.</response>"
        reply = f"<think>{'These calls' if calls else 'No tool'} will do.</think>\n{block}"
        return reply if self.correct(task, reply) else None

    def gameable(self) -> dict[str, str]:
        """Correctness, where all questions want the same: no call, or any."""
        asked = set(self.categories if self.category is None else (self.category,))
        if asked <= {"irrelevance", "live_irrelevance"}:
            reason = "the right reply to each of these questions is to call no tool; beside others they count."
        elif asked == {"live_relevance"}:
            reason = "any call is a right reply to each of these questions; beside others they count."
        else:
            return {}
        return {"correct": reason, "all right": reason}

    def data_revision(self) -> str:
        """The commit that is pinned, or a hash of the local files of all the environment's categories."""
        return revision(_source(self.categories), self.data_dir)


class BFCL3Simple(BFCL3):
    """One tool, one call: in Python (400 questions), Java (100) and JavaScript (50).

    `accuracy` is over all 550; BFCL's "Simple AST" is the mean of the three languages'.
    """

    categories = ("simple", "java", "javascript")


class BFCL3Multiple(BFCL3):
    """Several tools, one call (200 questions)."""

    categories = ("multiple",)


class BFCL3Parallel(BFCL3):
    """One tool, several calls (200 questions)."""

    categories = ("parallel",)


class BFCL3ParallelMultiple(BFCL3):
    """Several tools, several calls (200 questions)."""

    categories = ("parallel_multiple",)


class BFCL3Irrelevance(BFCL3):
    """One tool that does not fit: right is to make no call (240 questions)."""

    categories = ("irrelevance",)


class BFCL3Live(BFCL3):
    """Tools and questions of users (2,251 questions), of which 882 want no call and 18 want any.

    `accuracy` is over all of them, which is BFCL's "Live Overall Acc".
    """

    categories = (
        "live_simple",
        "live_multiple",
        "live_parallel",
        "live_parallel_multiple",
        "live_irrelevance",
        "live_relevance",
    )


def made_calls(reply: str) -> list[Call]:
    """The calls of a reply; none where they cannot be read, or where the tool is called "None"."""
    return [call for call in parse_calls(reply) or () if call["name"].strip().lower() != _NO_CALL]


def _source(categories: Sequence[str]) -> Source:
    """The files of some categories; lines of text, since their JSON has no fixed types."""
    files = {category: f"BFCL_v3_{category}.json" for category in categories}
    files |= {
        _answers_to(category): f"possible_answer/{files[category]}" for category in categories if _has_answers(category)
    }
    return Source(
        hub="ShishirPatil/gorilla",
        revision=_COMMIT,
        splits={name: SplitFiles(hub=f"{_FOLDER}/{file}", local=f"bfcl_v3/{file}") for name, file in files.items()},
        columns={"text": str},
        lines=True,
    )


def _answers_to(category: str) -> str:
    return f"{category} answers"


def _has_answers(category: str) -> bool:
    return not category.endswith("relevance")  # irrelevance too


@lru_cache(maxsize=16)
def _questions(category: str, data_dir: str | None, version: str) -> Sequence[BFCLTask]:
    """Read once for all instances; `version` is there so that other data are read anew."""
    source = _source([category])
    answers: dict[str, Any] = {}
    if _has_answers(category):
        read = load(source, _answers_to(category), lambda row: _fields(row, "id", "ground_truth"), data_dir).rows
        answers = dict(read)

    def question(row: Row) -> BFCLTask:
        case, turns, functions = _fields(row, "id", "question", "function")
        if _has_answers(category) and not answers.get(case):
            raise UnusableRowError(f"there is no answer to {case}")
        if len(turns) != 1:
            raise UnusableRowError(f"{case} has {len(turns)} turns; expected one")
        return BFCLTask(
            prompt=user_prompt(turns[0]),
            case=case,
            category=category,
            system=system_prompt(functions, category, turns[0]),
            functions=functions,
            answers=answers.get(case, []),
        )

    return tuple(load(source, category, question, data_dir).rows)


def _fields(row: Row, *names: str) -> tuple[Any, ...]:
    try:
        content = json.loads(row["text"])
    except ValueError as error:
        raise UnusableRowError(f"not JSON: {error}") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(
            f"BFCL v3: a line needs {', '.join(names)}; this one has {', '.join(content)}: {row['text']:.60}"
        )
    return tuple(content[name] for name in names)
