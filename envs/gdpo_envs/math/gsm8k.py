"""GSM8K: grade-school word problems whose answer is an integer, with rewards like those of GDPO's example.

Source: `openai/gsm8k` (Cobbe et al., arXiv 2110.14168, MIT licence); the three rewards are named and meant as in the
GSM8K example published with arXiv 2601.05242. Departs from its functions, which `compat="gdpo"` has to the letter:

1. The answer is read as a number, so `$18`, `18.`, `18 eggs`, `18.00`, `1,000` and `9+9=18` may be right, where the
   example compares texts. It is also found without `<answer>`, in the styles that `gdpo_envs.math.answers` knows.
2. A signed number or one with commas is an integer; the example wants nothing but digits. A reply that thinks in
   `<think>` has no integer without an `<answer>`, and no answer within its thought.
3. Between the blocks any white space is fine, where the example wants one newline; the thought may mention
   `<answer>`, its opening tag may stand in the prompt, and an end-of-turn token may follow.

The prompt is ours in both cases.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/GSM8K-v0 --policy oracle
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from random import Random

from gdpo_bench.core import Message, Task, TextEnv, UnknownNameError, reward
from gdpo_envs.demonstrating import FORMAT_RATE, imperfect
from gdpo_envs.distinct import distinct, normalized
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError, load, revision
from gdpo_envs.math.answers import final_answer, read_number
from gdpo_envs.math.gsm8k_published import published_answer, published_format, published_integer
from gdpo_envs.options import checked_share
from gdpo_envs.tags import after_thought, reply_pattern

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
COMPAT = ("gdpo",)
_FORMAT = reply_pattern("answer")
_CALCULATOR = re.compile(r"<<[^>]*>>")
"""What the source writes behind each result for a program to check."""


@dataclass(frozen=True)
class WordProblem(Task):
    """One problem; the prompt is the bare question."""

    answer: str
    """The number after `####`; with `compat` the text there, as it stands."""
    solution: str
    """The worked steps before it."""


class GSM8K(TextEnv[WordProblem]):
    """Word problems, answered as `<think>…</think><answer>…</answer>`.

    Correctness does not depend on the format: `gdpo_envs.math.answers` finds the final answer in
    other styles too. Evaluation is the published test split; a training problem that also stands
    in it is left out.

    Revisions of the grader:
        2: The answer is looked for behind the thought; a reply with a thought and no `<answer>` has no integer;
            headings, `2.4e1` and a minus before a space are read, and the `A:` of "Plan A:" is not; for the format
            the prompt may open the thought, and an end-of-turn token may follow.
    """

    grader_revision = 2
    data_licence = "MIT"

    def __init__(
        self, data_dir: str | None = None, compat: str | None = None, format_rate: float = FORMAT_RATE
    ) -> None:
        """Set the options.

        Args:
            data_dir: Folder with `gsm8k/train.jsonl` and `gsm8k/test.jsonl`. Without it the folder
                that `GDPO_BENCH_DATA` names, and without that the Hugging Face hub.
            compat: `"gdpo"` for the rewards exactly as the code of GDPO's example computes them, see
                `gdpo_envs.math.gsm8k_published`.
            format_rate: Share of the demonstrations in the right format, in [0, 1].

        Raises:
            UnknownNameError: No such `compat`.
            DeclarationError: A share outside its range.
        """
        if compat is not None and compat not in COMPAT:
            raise UnknownNameError("compat of gdpo/GSM8K-v0", compat, COMPAT)
        self.compat = compat
        self.data_dir = data_dir
        self.format_rate = checked_share("format_rate", format_rate)

    def tasks(self, split: str) -> Sequence[WordProblem]:
        """The problems of a split, in the order of the source, without repetitions.

        Raises:
            DataError: The data are not there or not as expected.
        """
        return _problems(split, self.data_dir, self.data_revision(), as_published=self.compat is not None)

    def messages(self, task: WordProblem) -> list[Message]:
        """The wanted format, then the question."""
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": task.prompt}]

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def correct(self, task: WordProblem, reply: str) -> bool:
        """1 if the final answer is the right number."""
        if self.compat:
            return published_answer(reply) == task.answer
        return final_answer(_behind_thought(reply)) == Fraction(task.answer)

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: WordProblem, reply: str) -> bool:
        """1 if the reply is `<think>…</think><answer>…</answer>` and nothing else."""
        return published_format(reply) if self.compat else _FORMAT.fullmatch(reply) is not None

    @reward(low=0, high=1, kind="binary")
    def integer(self, task: WordProblem, reply: str) -> bool:
        """1 if the final answer is an integer, right or wrong; a reply with a thought must give it in `<answer>`."""
        if self.compat:
            return published_integer(reply)
        rest = _behind_thought(reply)
        if rest != reply and "<answer>" not in rest:
            return False
        answer = final_answer(rest)
        return answer is not None and answer.denominator == 1

    def reference(self, task: WordProblem) -> str:
        """The published solution, in the right format."""
        return f"<think>{task.solution}</think>\n<answer>{task.answer}</answer>"

    def demonstrations(self, rng: Random) -> Iterator[tuple[WordProblem, str]]:
        """Published solutions, without the marks of a calculator, mostly with tags missing."""
        return imperfect(self, rng, self.format_rate, _tagged, _badly_tagged)

    def data_revision(self) -> str:
        """The commit on the hub, or a hash of the local files."""
        return revision(SOURCE, self.data_dir)


def _tagged(task: WordProblem) -> str:
    return f"<think>{_steps(task)}</think>\n<answer>{task.answer}</answer>"


def _badly_tagged(task: WordProblem, rng: Random) -> str:
    steps = _steps(task)
    return rng.choice(
        (
            f"{steps}\nThe answer is {task.answer}.",
            f"<think>{steps}</think>The answer is {task.answer}.",
            f"{steps}\n<answer>{task.answer}</answer>",
            f"<think>{steps}\n<answer>{task.answer}</answer>",
        )
    )


def _steps(task: WordProblem) -> str:
    return _CALCULATOR.sub("", task.solution)


def _behind_thought(reply: str) -> str:
    """What follows the thought, where there may be an answer; of a thought that never ends its closed `<answer>`."""
    rest = after_thought(reply)
    if rest is not None:
        return rest
    _, opened, block = reply.rpartition("<answer>")
    return opened + block if "</answer>" in block else ""


@lru_cache(maxsize=4)
def _problems(split: str, data_dir: str | None, version: str, as_published: bool) -> Sequence[WordProblem]:
    """Read once for all instances; `version` is there so that other data are read anew."""
    held_out = set(map(normalized, _problems("eval", data_dir, version, as_published))) if split == "train" else set()
    convert = partial(_word_problem, as_published)
    return distinct(load(SOURCE, split, convert, data_dir).rows, f"{SOURCE.hub} {split}", held_out)


def _word_problem(as_published: bool, row: Row) -> WordProblem:
    solution, marker, text = row["answer"].rpartition("####")
    answer = read_number(text)
    if not marker or answer is None:
        raise UnusableRowError("'answer' holds no number after '####'")
    return WordProblem(row["question"].strip(), text.strip() if as_published else str(answer), solution.strip())
