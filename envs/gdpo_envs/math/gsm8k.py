"""GSM8K: grade-school word problems whose answer is an integer, with the rewards of GDPO's example.

Source: `openai/gsm8k` (Cobbe et al., arXiv 2110.14168, MIT licence); the rewards are those of the
GSM8K experiment published with arXiv 2601.05242.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/GSM8K-v0 --policy oracle
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from gdpo_bench.core import Message, Task, TextEnv, reward
from gdpo_envs.distinct import distinct, normalized
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError, load, revision
from gdpo_envs.math.answers import final_answer, read_number
from gdpo_envs.tags import has_blocks, tag_pattern

SOURCE = Source(
    hub="openai/gsm8k",
    config="main",
    revision="740312add88f781978c0658806c59bc2815b9866",
    splits={
        "train": SplitFiles(hub="train", local="gsm8k/train.jsonl"),
        "eval": SplitFiles(hub="test", local="gsm8k/test.jsonl"),
    },
    columns={"question": str, "answer": str},
)
SYSTEM_PROMPT = (
    "Think about the problem step by step, then give the final answer as a number. "
    "Reply in this format and write nothing else:\n<think>your reasoning</think><answer>the number</answer>"
)
_TAGS = tag_pattern("answer")


@dataclass(frozen=True)
class WordProblem(Task):
    """One problem; the prompt is the bare question."""

    answer: str
    """The number after `####`."""
    solution: str
    """The worked steps before it."""


class GSM8K(TextEnv[WordProblem]):
    """Word problems, answered as `<think>…</think><answer>…</answer>`.

    Correctness does not depend on the format: `gdpo_envs.math.answers` finds the final answer in
    other styles too. Evaluation is the published test split; a training problem that also stands
    in it is left out.
    """

    data_licence = "MIT"

    def __init__(self, data_dir: str | None = None) -> None:
        """Set the options.

        Args:
            data_dir: Folder with `gsm8k/train.jsonl` and `gsm8k/test.jsonl`. Without it the folder
                that `GDPO_BENCH_DATA` names, and without that the Hugging Face hub.
        """
        self.data_dir = data_dir

    def tasks(self, split: str) -> Sequence[WordProblem]:
        """The problems of a split, in the order of the source, without repetitions.

        Raises:
            DataError: The data are not there or not as expected.
        """
        return _problems(split, self.data_dir, self.data_revision())

    def messages(self, task: WordProblem) -> list[Message]:
        """The wanted format, then the question."""
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": task.prompt}]

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def correct(self, task: WordProblem, reply: str) -> bool:
        """1 if the final answer is the right number."""
        return final_answer(reply) == Fraction(task.answer)

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: WordProblem, reply: str) -> bool:
        """1 if the reply is `<think>…</think><answer>…</answer>` and nothing else."""
        return has_blocks(reply, ["answer"], _TAGS)

    @reward(low=0, high=1, kind="binary")
    def integer(self, task: WordProblem, reply: str) -> bool:
        """1 if the final answer is an integer, right or wrong."""
        answer = final_answer(reply)
        return answer is not None and answer.denominator == 1

    def reference(self, task: WordProblem) -> str:
        """The published solution, in the right format."""
        return f"<think>{task.solution}</think><answer>{task.answer}</answer>"

    def data_revision(self) -> str:
        """The commit on the hub, or a hash of the local files."""
        return revision(SOURCE, self.data_dir)


@lru_cache(maxsize=4)
def _problems(split: str, data_dir: str | None, version: str) -> Sequence[WordProblem]:
    """Read once for all instances; `version` is there so that other data are read anew."""
    held_out = set(map(normalized, _problems("eval", data_dir, version))) if split == "train" else set()
    return distinct(load(SOURCE, split, _word_problem, data_dir).rows, f"{SOURCE.hub} {split}", held_out)


def _word_problem(row: Row) -> WordProblem:
    solution, marker, text = row["answer"].rpartition("####")
    answer = read_number(text)
    if not marker or answer is None:
        raise UnusableRowError("'answer' holds no number after '####'")
    return WordProblem(row["question"].strip(), str(answer), solution.strip())
