"""What all coding environments share: three rewards that read one run of the program in the reply."""

from __future__ import annotations

from collections.abc import Sequence

from gdpo_bench.core import Gate, Message, TextEnv, reward
from gdpo_envs.coding.execution import Verdict, installed, judge, unavailable
from gdpo_envs.coding.problem import CodeTask

LIMIT = 16_000
"""Characters of a short reply; about 4,000 tokens of English and Python."""
_FENCE = "Put the whole program into one Markdown code block that begins with ```python at the end of your reply."
_IMPORTS = "It may import modules of Python's standard library{numpy}, and no others."
_ASKED = {
    "stdio": "Solve the problem with a Python program that reads standard input and writes to standard output.",
    "call": "Solve the problem with Python code that defines `{entry}`.",
}


class CodingEnv(TextEnv[CodeTask]):
    """A reply holds a program in a Markdown fence, and the program is run on the task's tests.

    `gdpo_envs.coding.extraction` says which fence counts. Programs run in the sandbox, which is
    never told what is expected; answers are compared here. Tasks and messages need no sandbox.
    """

    scored_elsewhere = True  # in containers
    cpu_s: float = 10.0
    """Seconds of CPU that a program may use on one test."""
    numpy: bool = False
    """Whether a program can import numpy."""

    def messages(self, task: CodeTask) -> list[Message]:
        """What kind of program is wanted and where to put it, then the problem."""
        asked = _ASKED[task.mode].format(entry=task.entry)
        imports = _IMPORTS.format(numpy=" and numpy" if self.numpy else "")
        return [{"role": "system", "content": f"{asked} {imports} {_FENCE}"}, {"role": "user", "content": task.prompt}]

    @reward(low=0, high=1, metric="accuracy", batched=True)
    def pass_rate(self, tasks: Sequence[CodeTask], replies: Sequence[str]) -> list[float | Exception]:
        """Share of all tests that the program passes; 0 where the reply holds no program."""
        return [_read(verdict, "pass_rate") for verdict in self._verdicts(tasks, replies)]

    @reward(
        low=0,
        high=1,
        kind="binary",
        gate=Gate(on="pass_rate", at_least=1.0),
        metric="exceed_ratio",
        batched=True,
    )
    def length(self, tasks: Sequence[CodeTask], replies: Sequence[str]) -> list[bool]:
        """1 if the whole reply has at most `task.limit` characters; counts only when all tests pass."""
        return [len(reply) <= task.limit for task, reply in zip(tasks, replies, strict=True)]

    @reward(low=0, high=1, kind="binary", metric="bug_ratio", batched=True)
    def no_bug(self, tasks: Sequence[CodeTask], replies: Sequence[str]) -> list[float | Exception]:
        """1 if the program compiles and no test ends in an error; 0 where the reply holds no program.

        Errors are: it does not compile, an uncaught exception or exit code, a crash, a call that
        never returns although its process ended. Reaching a limit of time, memory or output is
        not a bug; it costs the pass rate.
        """
        return [_read(verdict, "no_bug") for verdict in self._verdicts(tasks, replies)]

    def reference(self, task: CodeTask) -> str | None:
        """The known solution, in a fence."""
        return None if task.solution is None else f"```python\n{task.solution.rstrip()}\n```"

    def unavailable(self) -> str | None:
        """Why programs cannot be run here, or None."""
        return unavailable(self.numpy)

    def runs_programs_with(self) -> dict[str, str] | None:
        """Python and packages of the sandbox's image; None where it cannot be asked."""
        return installed(self.numpy)

    def _verdicts(self, tasks: Sequence[CodeTask], replies: Sequence[str]) -> list[Verdict | Exception]:
        return judge(tasks, replies, self.cpu_s, self.numpy)


def _read(verdict: Verdict | Exception, name: str) -> float | Exception:
    return verdict if isinstance(verdict, Exception) else float(getattr(verdict, name))
