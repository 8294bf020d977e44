"""Formulas in words to be written as functions, for the embedded policy: real programs, really run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from gdpo_bench.core import Message, content_hash, held_out, split_by_content
from gdpo_envs.coding.env import CodingEnv
from gdpo_envs.coding.problem import Case, CodeTask, call_case
from gdpo_envs.options import checked_count, checked_share

_Value = Callable[[int, int], int]
_Formula = tuple[str, str, str]
"""Left operand, operation and right operand, in words."""
_CONSTANTS = ("3", "5", "7", "9")
_MULTIPLES = {"twice": 2, "3 times": 3, "4 times": 4, "5 times": 5}


def _operands() -> Iterator[tuple[str, str, _Value]]:
    """Words, their code, and their value."""
    arguments: dict[str, _Value] = {"a": lambda a, b: a, "b": lambda a, b: b}
    for name, value in arguments.items():
        yield name, name, value
        yield f"{name} squared", f"{name}*{name}", _product(value, value)
        for words, factor in _MULTIPLES.items():
            yield f"{words} {name}", f"{factor}*{name}", _product(_constant(factor), value)
    for digit in _CONSTANTS:
        yield digit, digit, _constant(int(digit))


def _constant(number: int) -> _Value:
    return lambda a, b: number


def _product(one: _Value, other: _Value) -> _Value:
    return lambda a, b: one(a, b) * other(a, b)


_OPERANDS: dict[str, tuple[str, _Value]] = {words: (code, value) for words, code, value in _operands()}
_OPERATIONS: dict[str, tuple[str, _Value]] = {
    "sum": ("{}+{}", lambda x, y: x + y),
    "difference": ("{}-{}", lambda x, y: x - y),
    "product": ("{}*{}", lambda x, y: x * y),
    "larger": ("max({},{})", max),
    "smaller": ("min({},{})", min),
    "distance": ("abs({}-{})", lambda x, y: abs(x - y)),
}
_ARGUMENTS = ((12, -1), (10, -8), (-5, 10), (-1, -4), (1, 3), (2, 1))
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

    @property
    def formula(self) -> _Formula:
        """Operands and operation in the order of the words."""
        return self.left, self.operation, self.right


class CodingMini(CodingEnv):
    """Formulas such as `f(a,b): sum of twice a and b`, answered by a one-line function in a Markdown fence.

    All formulas are enumerated; about a third of the functions that they stand for is held out, whatever the formula
    and whichever argument is called a, and demonstrations never show one, not even where they get a formula wrong. The
    limit of the length reward leaves room for the function, but not for a comment.

    Version history:
        v1: Split by function (over half of v0's held-out formulas were trained on with a and b exchanged, or commuted);
            379 functions instead of 85; more forms of programs are found in replies.
        v0: First version.
    """

    cpu_s = 1.0

    def __init__(self, limit: int = 48, bug_rate: float = 0.35, eval_share: float = 0.35) -> None:
        """Set the options.

        Args:
            limit: Characters of a short reply.
            bug_rate: Share of the demonstrations' programs that do not compile or name something
                undefined, in [0, 1].
            eval_share: Expected share of the functions that are held out, in [0, 1].

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
            if not {left, right} <= set(_CONSTANTS)
        )
        return split_by_content(formulas, split, self.eval_share, lambda task: _content(*task.formula))

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
        formula = _with_mistakes(task, rng)
        while held_out(content_hash(_content(*formula)), self.eval_share):
            formula = _with_mistakes(task, rng)
        code = f"def f(a,b):return {_formula(*formula)}"
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


def _with_mistakes(task: FormulaTask, rng: Random) -> _Formula:
    """The formula of a demonstration."""
    left, operation, right = task.formula
    if rng.random() < _WRONG_SHARE:
        if rng.random() < 0.5:
            operation = rng.choice(list(_OPERATIONS))
        else:
            left = rng.choice(list(_OPERANDS))
    return left, operation, right


def _words(left: str, operation: str, right: str) -> str:
    return f"{operation} of {left} and {right}"


def _formula(left: str, operation: str, right: str) -> str:
    return _OPERATIONS[operation][0].format(_OPERANDS[left][0], _OPERANDS[right][0])


def _content(left: str, operation: str, right: str) -> list[int]:
    """A function whatever its formula, and whichever of its arguments is called a: its values."""
    swapped = [(b, a) for a, b in _ARGUMENTS]
    return min(_values(left, operation, right, arguments) for arguments in (_ARGUMENTS, swapped))


def _cases(left: str, operation: str, right: str) -> list[Case]:
    values = _values(left, operation, right, _ARGUMENTS)
    return [call_case(arguments, value, "exact") for arguments, value in zip(_ARGUMENTS, values, strict=True)]


def _values(left: str, operation: str, right: str, arguments: Sequence[tuple[int, int]]) -> list[int]:
    x, y, combine = _OPERANDS[left][1], _OPERANDS[right][1], _OPERATIONS[operation][1]
    return [combine(x(a, b), y(a, b)) for a, b in arguments]
