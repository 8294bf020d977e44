"""ToolRL's 4k: dialogues whose next turn is a set of tool calls, an answer to the user, or both.

Source: `rlla_4k` of github.com/qiancheng0/ToolRL (arXiv 2504.13958, Apache-2.0), the training data of the
tool-calling experiment of arXiv 2601.05242. The prompt is the published one, word for word.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/ToolCalling-v0 --policy oracle
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from random import Random

from gdpo_bench.core import Message, Task, TextEnv, UnknownNameError, reward
from gdpo_envs.demonstrating import FORMAT_RATE, imperfect
from gdpo_envs.loading import Row, Source, SplitFiles, UnusableRowError, load, revision
from gdpo_envs.options import checked_share
from gdpo_envs.tool_calling.toolrl import Call, correctness, format_reward, parse_calls
from gdpo_envs.tool_calling.toolrl_published import published_correctness, published_format

_COMMIT = "8cee13ec0ca72f0461da372a93a6fd8140dbb840"
_FOLDER = f"https://raw.githubusercontent.com/qiancheng0/ToolRL/{_COMMIT}/dataset/rlla_4k"
SOURCE = Source(
    hub="qiancheng0/ToolRL",
    revision=_COMMIT,
    splits={
        "train": SplitFiles(hub=f"{_FOLDER}/train.parquet", local="toolrl/rlla_4k_train.parquet"),
        "eval": SplitFiles(hub=f"{_FOLDER}/test.parquet", local="toolrl/rlla_4k_test.parquet"),
    },
    columns={"prompt": list, "reward_model": dict},
)
COMPAT = ("toolrl",)
_BLOCKS = re.compile(r"</?(?:tool_call|response)>\n?")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ToolRLTask(Task):
    """One turn of a dialogue; the prompt is the dialogue so far."""

    system: str
    """The tools, and the format of the reply."""
    answer: str
    """The true reply, in the right format; its thought is a placeholder."""

    @cached_property
    def calls(self) -> list[Call]:
        """The true calls; there may be none."""
        return parse_calls(self.answer) or []

    @cached_property
    def responds(self) -> bool:
        """Whether the true reply says something to the user."""
        return "<response>" in self.answer


class ToolCalling(TextEnv[ToolRLTask]):
    """Tool calls and answers in dialogues, replied to as `<think>…</think><tool_call>…</tool_call>`.

    Evaluation is the published test file (80 dialogues); a training dialogue that also stands in it is
    left out. `correctness` is not applicable to the dialogues whose true reply calls no tool, about
    which only the format can be scored.

    Revisions of the grader:
        2: In strict mode superfluous calls cost more, a key that stands twice is no JSON, and for the format the prompt
            may open the thought, and an end-of-turn token may follow the reply.
    """

    grader_revision = 2
    data_licence = "Apache-2.0"

    def __init__(
        self, compat: str | None = None, data_dir: str | None = None, format_rate: float = FORMAT_RATE
    ) -> None:
        """Set the options.

        Args:
            compat: `"toolrl"` for the rewards exactly as ToolRL's code computes them, see
                `gdpo_envs.tool_calling.toolrl_published`. Without it, strict mode.
            data_dir: Folder with `toolrl/rlla_4k_train.parquet` and `toolrl/rlla_4k_test.parquet`.
                Without it the folder that `GDPO_BENCH_DATA` names, and without that the published files.
            format_rate: Share of the demonstrations in the right format, in [0, 1].

        Raises:
            UnknownNameError: No such `compat`.
            DeclarationError: A share outside its range.
        """
        if compat is not None and compat not in COMPAT:
            raise UnknownNameError("compat of gdpo/ToolCalling-v0", compat, COMPAT)
        self.compat = compat
        self.data_dir = data_dir
        self.format_rate = checked_share("format_rate", format_rate)

    def tasks(self, split: str) -> Sequence[ToolRLTask]:
        """The dialogues of a split, in the order of the source, without repetitions.

        Raises:
            DataError: The data are not there or not as expected.
        """
        return _dialogues(split, self.data_dir, self.data_revision())

    def messages(self, task: ToolRLTask) -> list[Message]:
        """The published prompt."""
        return [{"role": "system", "content": task.system}, {"role": "user", "content": task.prompt}]

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def format(self, task: ToolRLTask, reply: str) -> float:
        """1 if the reply has the blocks of the true one, once each, in order, and nothing else."""
        score = published_format if self.compat else format_reward
        return score(reply, bool(task.calls), task.responds)

    @reward(low=-3, high=3, metric="accuracy")
    def correctness(self, task: ToolRLTask, reply: str) -> float | None:
        """Agreement of names, parameter names and values with the true calls, where there are any."""
        if self.compat:
            return published_correctness(reply, task.calls)
        return correctness(parse_calls(reply), task.calls) if task.calls else None

    def reference(self, task: ToolRLTask) -> str:
        """The published reply."""
        return task.answer

    def demonstrations(self, rng: Random) -> Iterator[tuple[ToolRLTask, str]]:
        """Published replies, mostly with tags missing."""
        return imperfect(self, rng, self.format_rate, self.reference, _badly_tagged)

    def data_revision(self) -> str:
        """The commit that is pinned, or a hash of the local files."""
        return revision(SOURCE, self.data_dir)


def _badly_tagged(task: ToolRLTask, rng: Random) -> str:
    thought, _, rest = task.answer.partition("</think>")
    return rng.choice(
        (
            rest.lstrip(),
            f"{thought}{rest}",
            _BLOCKS.sub("", task.answer),
            f"{thought}</think>\nHere it is:{rest}",
        )
    )


@lru_cache(maxsize=4)
def _dialogues(split: str, data_dir: str | None, version: str) -> Sequence[ToolRLTask]:
    """Read once for all instances; `version` is there so that other data are read anew."""
    held_out = {task.prompt for task in _dialogues("eval", data_dir, version)} if split == "train" else set()
    dialogues = load(SOURCE, split, _dialogue, data_dir).rows
    unique = {task.id: task for task in dialogues if task.prompt not in held_out}
    if repeated := len(dialogues) - len(unique):
        _log.warning("%s: left out %d dialogues of %r that occur twice or in evaluation", SOURCE.hub, repeated, split)
    return tuple(unique.values())


def _dialogue(row: Row) -> ToolRLTask:
    messages, answer = row["prompt"], row["reward_model"].get("ground_truth")
    if [message.get("role") for message in messages] != ["system", "user"]:
        raise UnusableRowError("'prompt' is not a system and a user message")
    if not isinstance(answer, str):
        raise UnusableRowError("'reward_model' holds no 'ground_truth'")
    task = ToolRLTask(messages[1]["content"], messages[0]["content"], answer)
    has_calls = "<tool_call>" in answer
    if bool(task.calls) is not has_calls or not format_reward(answer, has_calls, task.responds):
        raise UnusableRowError("'ground_truth' is not in ToolRL's format")
    return task
