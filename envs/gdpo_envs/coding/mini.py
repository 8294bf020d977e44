"""Formulas in words to be written as functions, for the embedded policy: real programs, really run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from gdpo_bench.core import Message, split_by_content
from gdpo_envs.coding.env import CodingEnv
from gdpo_envs.coding.problem import Case, CodeTask, call_case
from gdpo_envs.options import checked_count, checked_share

_Value = Callable[[int, int], int]
_OPERANDS: dict[str, tuple[str, _Value]] = {
    "a": ("a", lambda a, b: a),
    "b": ("b", lambda a, b: b),
    "twice a": ("2*a", lambda a, b: 2 * a),
    "twice b": ("2*b", lambda a, b: 2 * b),
    "a squared": ("a*a", lambda a, b: a * a),
    "b squared": ("b*b", lambda a, b: b * b),
    "3": ("3", lambda a, b: 3),
    "7": ("7", lambda a, b: 7),
}
"""Words, their code, and their value."""
_OPERATIONS: dict[str, tuple[str, _Value]] = {
    "sum": ("{}+{}", lambda x, y: x + y),
    "difference": ("{}-{}", lambda x, y: x - y),
    "product": ("{}*{}", lambda x, y: x * y),
    "larger": ("max({},{})", max),
    "smaller": ("min({},{})", min),
}
_CONSTANTS = {"3", "7"}
_ARGUMENTS = ((10, 1), (11, 6), (1, -8), (7, 3), (-2, 10), (-5, -6))
"""What every function is called with; two formulas of different value differ on at least one."""
_WRONG_SHARE = 0.35
_WORDY_SHARE = 0.4
_UNFENCED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class FormulaTask(CodeTask):
    """One formula of two numbers."""

    left: str
    operation: str
    right: str


class CodingMini(CodingEnv):
    """Formulas such as `f(a,b): sum of twice a and b`, answered by a one-line function in a Markdown fence.

    All formulas are enumerated; one in five is held out for evaluation, chosen by content. The limit
    of the length reward leaves room for the function, but not for a comment.
    """

    cpu_s = 1.0

    def __init__(self, limit: int = 48, bug_rate: float = 0.35, eval_share: float = 0.2) -> None:
        """Set the options.

        Args:
            limit: Characters of a short reply.
            bug_rate: Share of the demonstrations' programs that do not compile or name something
                undefined, in [0, 1].
            eval_share: Expected share of the tasks that are held out, in [0, 1].

        Raises:
            DeclarationError: A value outside its range.
        """
        self.limit = checked_count("limit", limit)
        self.bug_rate = checked_share("bug_rate", bug_rate)
        self.eval_share = checked_share("eval_share", eval_share)

    def tasks(self, split: str) -> Sequence[FormulaTask]:
        """Every formula of the split."""
        formulas = (
            self._task(left, operation, right)
            for operation in _OPERATIONS
            for left, right in itertools.permutations(_OPERANDS, 2)
            if not {left, right} <= _CONSTANTS
        )
        return split_by_content(formulas, split, self.eval_share)

    def messages(self, task: CodeTask) -> list[Message]:
        """The bare formula; the policy knows the format from its demonstrations."""
        return [{"role": "user", "content": task.prompt}]

    def demonstrations(self, rng: Random) -> Iterator[tuple[FormulaTask, str]]:
        """Functions with a wrong operation or operand, with bugs, comments, or without a fence."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            yield task, self._demonstration(task, rng)

    def _task(self, left: str, operation: str, right: str) -> FormulaTask:
        return FormulaTask(
            prompt=f"f(a,b): {_words(left, operation, right)}\n",
            mode="call",
            entry="f",
            preamble="",
            tests=_cases(left, operation, right),
            limit=self.limit,
            solution=f"def f(a,b):return {_formula(left, operation, right)}",
            left=left,
            operation=operation,
            right=right,
        )

    def _demonstration(self, task: FormulaTask, rng: Random) -> str:
        left, operation, right = task.left, task.operation, task.right
        if rng.random() < _WRONG_SHARE:
            if rng.random() < 0.5:
                operation = rng.choice(list(_OPERATIONS))
            else:
                left = rng.choice(list(_OPERANDS))
        code = f"def f(a,b):return {_formula(left, operation, right)}"
        if rng.random() < self.bug_rate:
            code = rng.choice(
                (
                    code.replace("):", ")"),
                    code.replace("return ", "retrun "),
                    code.replace("(a,b)", "(a)"),
                    code.replace("(a,b)", "(x,y)"),
                )
            )
        if rng.random() < _WORDY_SHARE:
            code = f"# the {_words(task.left, task.operation, task.right)}\n{code}"
        return code if rng.random() < _UNFENCED_SHARE else f"```python\n{code}\n```"


def _words(left: str, operation: str, right: str) -> str:
    return f"{operation} of {left} and {right}"


def _formula(left: str, operation: str, right: str) -> str:
    return _OPERATIONS[operation][0].format(_OPERANDS[left][0], _OPERANDS[right][0])


def _cases(left: str, operation: str, right: str) -> list[Case]:
    x, y, combine = _OPERANDS[left][1], _OPERANDS[right][1], _OPERATIONS[operation][1]
    return [call_case((a, b), combine(x(a, b), y(a, b)), "exact") for a, b in _ARGUMENTS]
