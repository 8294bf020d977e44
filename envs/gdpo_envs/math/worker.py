r"""A process that scores answers: `python -m gdpo_envs.math.worker`, spoken to by `gdpo_envs.math.pool`.

Reads lines `[truth, answer]` of JSON, and for each writes a line: `true`, `false`, or `null` where scoring took
more than its processor time. The process itself only imports and warms up sympy, and forks; a child reads, scores and
writes, under limits of memory and of processor time that also end a computation within C code. A child that
goes beyond them is replaced by a fresh fork in milliseconds. Time is counted in processor seconds, not on the
clock, so that a busy machine changes no verdict. A child also ends after `ANSWERS_PER_CHILD`, since sympy's
caches only grow. POSIX only.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import BinaryIO

from gdpo_envs.math.grading import same

CPU_SECONDS = 10.0
"""Processor time for one answer; a usual one takes 0.005 s, the worst of MATH's 0.9 s."""
MEMORY_BYTES = 1 << 30
"""Address space of a child, of which Python and sympy take about 200 MB."""
ANSWERS_PER_CHILD = 2_000
_WARM_UP = (
    (r"\frac{1}{2}", "0.5"),
    ("y=x^2+1", "y=1+x^2"),
    (r"\sqrt{2}", r"\frac{\pi}{4}"),
    ("(1,2)", "[1,2]"),
    (r"-3\le x<4", "[-3,4)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"(-\infty,2)\cup(3,\infty)"),
    (r"\text{even}", r"\sin x"),
    ("2x+3y=6", r"y=-\frac{2}{3}x+2"),
    (r"5\text{ cm}", "6 cm"),
)
"""Scored before the first fork, so that every child has what the parser learns on its first expressions."""
_NO_MORE_QUESTIONS = 17
"""Exit status of a child whose input has ended."""


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing else may be printed between answers
    for truth, answer in _WARM_UP:
        same(truth, answer)
    while True:
        child = os.fork()
        if child == 0:
            os._exit(_score(answers))
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGPROF, signal.SIGSEGV):
            _answer(answers, None)  # out of processor time or of stack: the answer's fault
        elif status:
            return


def _score(answers: BinaryIO) -> int:
    """Answer questions until there are no more or it is time for a fresh process; the exit status."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with suppress(ValueError, OSError):  # not all systems limit address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for _ in range(ANSWERS_PER_CHILD):
        question = sys.stdin.buffer.readline()
        if not question:
            return _NO_MORE_QUESTIONS
        truth, answer = json.loads(question)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            verdict = same(truth, answer)
        except (Exception, RecursionError, MemoryError):  # of any library beneath: it cannot be read
            verdict = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        _answer(answers, verdict)
    return 0


def _answer(answers: BinaryIO, verdict: bool | None) -> None:
    answers.write(json.dumps(verdict).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
