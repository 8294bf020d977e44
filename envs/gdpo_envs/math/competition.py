r"""Competition mathematics, answered in `\boxed{…}`: the paper's second task, and its five benchmarks.

Source: arXiv 2601.05242, section 4.2: DeepScaleR-Preview for training; rewards are correctness and
1[length ≤ 4000 tokens]; evaluated on AIME 2024, AMC 2022 and 2023, MATH-500, Minerva and OlympiadBench by accuracy and
by the share of replies that exceed the length. Correctness is decided with the help of Math-Verify (see
`gdpo_envs.math.grading`), in processes of its own. Departs in one point: the format is measured too, with weight 0.

    GDPO_BENCH_DATA=data python -m gdpo_bench.run --envs gdpo/Math-v0:training=math --policy oracle
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import ClassVar

from gdpo_bench.core import Message, TextEnv, UnknownNameError, reward
from gdpo_bench.core.rewards import RewardSpec
from gdpo_envs.demonstrating import FORMAT_RATE, imperfect
from gdpo_envs.math.latex import boxed_answer
from gdpo_envs.math.length import conditioned, token_count
from gdpo_envs.math.pool import WorkerError, judge
from gdpo_envs.math.sources import EVALUATION, MathTask, problems, revisions, set_revision, training_problems
from gdpo_envs.options import checked_count, checked_share
from gdpo_envs.tags import after_only_thought, after_thought

INSTRUCTION = "Let's think step by step and output the final answer within \\boxed{}."
"""Follows the problem, as in DeepScaleR. Reasoning models are meant to be used without a system prompt."""


class CompetitionMath(TextEnv[MathTask]):
    """What training and evaluation share: the prompt and the rewards.

    Revisions of the grader:
        2: Equations, bases, units, inequalities, repeating decimals and other notation are scored by their mathematics;
            several boxes may be the list that is asked for; a box may have no braces, and for the format an end-of-turn
            token may follow the reply.
    """

    grader_revision = 2
    splits: ClassVar[tuple[str, ...]] = ("eval",)
    evaluation: ClassVar[str] = "math500"
    """The problem set of the split "eval"."""
    scored_elsewhere = True  # in a pool of processes

    def __init__(
        self,
        limit: int = 4000,
        tokenizer: str | None = None,
        conditioned: bool = False,
        data_dir: str | None = None,
    ) -> None:
        """Set the options.

        Args:
            limit: Tokens that a reply may have to be short.
            tokenizer: Whose tokens: a name on the Hugging Face hub, or a folder. Without it they are
                counted approximately, and nothing is loaded: see `gdpo_envs.math.length`.
            conditioned: Whether the length counts only where the answer is correct.
            data_dir: Folder of the data. Without it the folder that `GDPO_BENCH_DATA` names, and without
                that the Hugging Face hub.

        Raises:
            DeclarationError: A value outside its range.
        """
        self.limit = checked_count("limit", limit)
        self.tokenizer = tokenizer
        self.conditioned = conditioned
        self.data_dir = data_dir

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The declarations, with the condition that the options ask for."""
        return conditioned(super().reward_specs) if self.conditioned else super().reward_specs

    def tasks(self, split: str) -> Sequence[MathTask]:
        """The problems of the split, in the order of the source, without repetitions.

        Raises:
            DataError: The data are not there or not as expected.
        """
        return problems(self.evaluation, self.data_dir, set_revision(self.evaluation, self.data_dir))

    def messages(self, task: MathTask) -> list[Message]:
        """The problem, then the instruction."""
        return [{"role": "user", "content": f"{task.prompt} {INSTRUCTION}"}]

    @reward(low=0, high=1, kind="binary", metric="accuracy", batched=True)
    def correct(self, tasks: Sequence[MathTask], replies: Sequence[str]) -> list[bool | WorkerError]:
        r"""1 if the last `\boxed{…}` after the thought, or `<answer>…</answer>`, means the right answer.

        Where the right answer is a list, the last boxes may hold its parts.
        """
        answers = [boxed_answer(after_thought(reply) or "") for reply in replies]
        pairs = zip(tasks, answers, strict=True)
        verdicts = iter(judge([(task.answer, answer) for task, answer in pairs if answer is not None]))
        return [answer is not None and next(verdicts) for answer in answers]

    @reward(low=0, high=1, kind="binary", metric="exceed_ratio")
    def length(self, task: MathTask, reply: str) -> bool:
        """1 if the reply has at most `limit` tokens, the thought included."""
        return token_count(reply, self.tokenizer) <= self.limit

    @reward(low=0, high=1, kind="binary", weight=0, metric="format_rate")
    def format(self, task: MathTask, reply: str) -> bool:
        r"""1 if one closed thought is followed by an answer in `\boxed{…}`; not trained on by default."""
        rest = after_only_thought(reply) or ""
        return "\\boxed" in rest and boxed_answer(rest) is not None

    def reference(self, task: MathTask) -> str:
        """The published solution as the thought, and the answer in a box."""
        return f"<think>\n{task.solution}\n</think>\nThe answer is $\\boxed{{{task.answer}}}$."

    def data_revision(self) -> str:
        """The commit on the hub, or a hash of the local files."""
        return set_revision(self.evaluation, self.data_dir)


class Math(CompetitionMath):
    """Training on DeepScaleR or on MATH, evaluation on MATH-500.

    Training problems that also stand in one of the five evaluation sets are left out and counted. In a
    data folder only those sets can be compared that are there; a warning names the others.

    Revisions of the grader: see `CompetitionMath`.
    """

    data_licence = "MIT"

    splits = ("train", "eval")
    training_sets: ClassVar[tuple[str, ...]] = ("deepscaler", "math")

    def __init__(
        self,
        training: str = "deepscaler",
        limit: int = 4000,
        tokenizer: str | None = None,
        conditioned: bool = False,
        data_dir: str | None = None,
        *,
        format_rate: float = FORMAT_RATE,
    ) -> None:
        """Set the options.

        Args:
            training: `deepscaler`, 40,000 problems of competitions, or `math`, the 7,500 of MATH.
            limit: See `CompetitionMath`.
            tokenizer: See `CompetitionMath`.
            conditioned: See `CompetitionMath`.
            data_dir: See `CompetitionMath`.
            format_rate: Share of the demonstrations in the right format, in [0, 1].

        Raises:
            DeclarationError: A value outside its range.
            UnknownNameError: There is no such training set.
        """
        super().__init__(limit, tokenizer, conditioned, data_dir)
        if training not in self.training_sets:
            raise UnknownNameError("training set of Math", training, self.training_sets)
        self.training = training
        self.format_rate = checked_share("format_rate", format_rate)

    def tasks(self, split: str) -> Sequence[MathTask]:
        """See `CompetitionMath.tasks`."""
        if split == "eval":
            return super().tasks(split)
        held_out = tuple(revisions(EVALUATION, self.data_dir).items())
        return training_problems(self.training, self.data_dir, set_revision(self.training, self.data_dir), held_out)

    def demonstrations(self, rng: Random) -> Iterator[tuple[MathTask, str]]:
        """Published solutions, bare answers where there are none, mostly without a thought or without a box."""
        return imperfect(self, rng, self.format_rate, self.reference, _badly_written)

    def data_revision(self) -> str:
        """Revisions of the training set, where it is there, and of the evaluation set."""
        training = revisions((self.training,), self.data_dir).values()
        return ", ".join((*training, super().data_revision()))


def _badly_written(task: MathTask, rng: Random) -> str:
    solution = task.solution.strip()
    return rng.choice(
        (
            f"{solution.replace('boxed', 'text')}\nThe answer is ${task.answer}$.",
            f"<think>\n{solution}\n</think>\nThe answer is ${task.answer}$.",
            f"{solution}\nThe answer is $\\boxed{{{task.answer}}}$.",
            f"<think>\n{solution}\nThe answer is $\\boxed{{{task.answer}}}$.",
        )
    )


class AIME24(CompetitionMath):
    """The 30 problems of the American Invitational Mathematics Examination of 2024; evaluation only.

    Revisions of the grader: see `CompetitionMath`.
    """

    evaluation = "aime24"


class AMC(CompetitionMath):
    """83 problems of the American Mathematics Competitions 12 of 2022 and 2023; evaluation only.

    Revisions of the grader: see `CompetitionMath`.
    """

    evaluation = "amc"


class Minerva(CompetitionMath):
    """272 quantitative problems of university courses; evaluation only.

    Revisions of the grader: see `CompetitionMath`.
    """

    evaluation = "minerva"


class OlympiadBench(CompetitionMath):
    """674 open-ended problems of mathematical olympiads, in English and without pictures; evaluation only.

    Revisions of the grader: see `CompetitionMath`.
    """

    evaluation = "olympiad"
