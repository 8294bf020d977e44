"""Programs of many replies, run once each in the sandbox and scored outside it.

The pool of containers belongs to the process: it starts with the first program and ends with the
process. Environments hold nothing of it, so they can be copied, pickled and sent anywhere.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gdpo_bench.core import GdpoBenchError, UnavailableError
from gdpo_envs.coding.extraction import extract_code
from gdpo_envs.coding.problem import CodeTask, literal, passes

if TYPE_CHECKING:
    from gdpo_sandbox import Limits, Outcome, Program, SandboxPool, Status

_SLOTS = 2
"""Programs that a process runs at one time, unless `GDPO_SANDBOX_SLOTS` says otherwise. A job has a process a core."""
_REMEMBERED = 20_000
_OUTPUTS = 16
"""Outputs of the largest allowed size that all tests together may have at least."""
_VERSIONS = """
import importlib.metadata, json, platform
found = {package.metadata["Name"]: package.version for package in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), **found}))
"""
_FUTURE = re.compile(r"^from __future__ import [^\n]*\n", re.MULTILINE)


class SandboxFailedError(GdpoBenchError, RuntimeError):
    """The sandbox failed on a program, which says nothing of the program."""


@dataclass(frozen=True)
class Verdict:
    """What became of a program."""

    pass_rate: float
    """Share of the tests that it passes."""
    no_bug: bool
    """Whether it compiles and no test ends in an error."""
    lasting: bool = True
    """Whether another run would say the same: none of its tests ran out of time, which depends on the machine too."""


@dataclass(frozen=True)
class _Grade:
    """What is kept of a test's outcome."""

    passed: bool
    status: Status
    error: str


_NO_PROGRAM = Verdict(0.0, no_bug=False)
_Key = tuple[str, str, float, bool]
"""What tells runs apart: task, program, seconds of CPU, and whether there is numpy."""
_verdicts: OrderedDict[_Key, Verdict] = OrderedDict()


class _Passing(threading.local):
    """What a thread's last batch found and another run may not: each is read once more, by the batch's other reward."""

    def __init__(self) -> None:
        self.verdicts: dict[_Key, Verdict | Exception] = {}
        """Failures of the sandbox, and programs that ran out of time."""


_passing = _Passing()
_lock = threading.Lock()
"""Around what all threads share; programs run outside of it."""
_pools: dict[tuple[int, Limits, bool], SandboxPool] = {}
"""By process, as containers must not be shared with a fork, by limits, and by whether there is numpy."""


def judge(
    tasks: Sequence[CodeTask], replies: Sequence[str], cpu_s: float, numpy: bool = False
) -> list[Verdict | Exception]:
    """Run the programs in N replies; equal programs for equal tasks run once.

    Args:
        tasks: The N tasks.
        replies: The N replies.
        cpu_s: Seconds of CPU that a program may use on one test.
        numpy: Whether programs can import numpy.

    Returns:
        N verdicts, with an exception where the sandbox failed.

    Raises:
        UnavailableError: No program can be run at all.
    """
    keys = [_key(task, reply, cpu_s, numpy) for task, reply in zip(tasks, replies, strict=True)]
    known: dict[_Key | None, Verdict | Exception] = {None: _NO_PROGRAM}
    waiting: dict[_Key, CodeTask] = {}
    passing = _passing.verdicts
    with _lock:
        for key, task in zip(keys, tasks, strict=True):
            if key is None or key in known:
                continue
            if key in _verdicts:
                _verdicts.move_to_end(key)
                known[key] = _verdicts[key]
            elif key in passing:
                known[key] = passing.pop(key)
            else:
                waiting[key] = task
    passing.clear()
    new = _run(waiting, cpu_s, numpy)
    with _lock:
        for key, verdict in new.items():
            known[key] = verdict
            if isinstance(verdict, Verdict) and verdict.lasting:
                _verdicts[key] = verdict
            else:
                passing[key] = verdict
        while len(_verdicts) > _REMEMBERED:
            _verdicts.popitem(last=False)
    return [known[key] for key in keys]


def _key(task: CodeTask, reply: str, cpu_s: float, numpy: bool) -> _Key | None:
    code = extract_code(reply, task.entry)
    return None if code is None else (task.id, code, cpu_s, numpy)


def _run(waiting: dict[_Key, CodeTask], cpu_s: float, numpy: bool) -> dict[_Key, Verdict | Exception]:
    """Score each test's outcome as it comes, so that no more than a few are in memory, of however many tests."""
    if not waiting:
        return {}
    from gdpo_sandbox import ProgramError, SandboxError  # noqa: PLC0415 (environments are listed without it)

    def run(key: _Key) -> Verdict | Exception:
        task = waiting[key]
        pool = pools[_limits(task, cpu_s)]
        try:
            return _verdict(pool.run_each(_program(task, key[1]), lambda test, outcome: _grade(task, test, outcome)))
        except ProgramError as error:
            return error

    try:
        pools = {limits: _pool(limits, numpy) for limits in {_limits(task, cpu_s) for task in waiting.values()}}
        with ThreadPoolExecutor(_slots()) as threads:
            return dict(zip(waiting, threads.map(run, waiting), strict=True))
    except SandboxError as error:
        raise UnavailableError(str(error)) from error


def _program(task: CodeTask, code: str) -> Program:
    from gdpo_sandbox import Program  # noqa: PLC0415

    inputs = [case["input"] if task.mode == "stdio" else literal(case["input"]) for case in task.tests]
    return Program(_source(task.preamble, code), inputs, task.mode, task.entry)


def _source(preamble: str, code: str) -> str:
    """Preamble and program; imports from `__future__` must come first."""
    if not preamble:
        return code
    return "".join(_FUTURE.findall(code)) + preamble + "\n" + _FUTURE.sub("", code)


def _grade(task: CodeTask, test: int, outcome: Outcome) -> _Grade:
    answer = outcome.stdout if task.mode == "stdio" else outcome.value
    passed = outcome.status == "ok" and passes(task.tests[test], task.mode, answer)
    return _Grade(passed, outcome.status, outcome.error)


def _verdict(grades: Sequence[_Grade]) -> Verdict | Exception:
    from gdpo_sandbox import Status  # noqa: PLC0415

    failure = next((grade.error for grade in grades if grade.status is Status.SANDBOX_ERROR), None)
    if failure is not None:
        return SandboxFailedError(f"The sandbox failed on this program: {failure}")
    unlucky = (Status.TIMEOUT, Status.NOT_RUN)
    bugs = (Status.COMPILE_ERROR, Status.RUNTIME_ERROR, Status.SIGNAL, Status.NO_RESULT)
    return Verdict(
        sum(grade.passed for grade in grades) / len(grades),
        no_bug=not any(grade.status in bugs for grade in grades),
        lasting=not any(grade.status in unlucky for grade in grades),
    )


def unavailable(numpy: bool = False) -> str | None:
    """Why programs cannot be run here, with numpy or without, and what to do about it, or None where they can.

    It is found out by running one, which also builds the image where there is none yet.
    """
    from gdpo_sandbox import Program, SandboxError, SandboxPool  # noqa: PLC0415

    try:
        with SandboxPool(slots=1, numpy=numpy) as pool:
            (outcome,) = pool.run(Program("", inputs=[""])).tests
    except SandboxError as error:
        return str(error)
    return None if outcome.status == "ok" else f"The sandbox cannot run an empty program: {outcome.error}"


@lru_cache
def installed(numpy: bool = False) -> dict[str, str] | None:
    """Versions of the Python, as `python`, and of the packages of the image, with numpy or without.

    None where no program can be run.
    """
    from gdpo_sandbox import Program, SandboxError, SandboxPool  # noqa: PLC0415

    try:
        with SandboxPool(slots=1, numpy=numpy) as pool:
            (outcome,) = pool.run(Program(_VERSIONS, inputs=[None])).tests
    except SandboxError:
        return None
    return dict(json.loads(outcome.stdout)) if outcome.status == "ok" else None


def _limits(task: CodeTask, cpu_s: float) -> Limits:
    """What a program may use: as much output as right answers can have, rounded up so that few pools are needed."""
    from gdpo_sandbox import Limits  # noqa: PLC0415

    default = Limits(cpu_s=cpu_s)
    sizes = [_answer_bytes(case["output"], task.mode) for case in task.tests]
    output_bytes = max(default.output_bytes, _power_of_two(max(sizes)))
    in_all = max(_OUTPUTS * output_bytes, _power_of_two(sum(sizes)))
    return replace(default, output_bytes=output_bytes, program_output_bytes=in_all)


def _answer_bytes(expected: str, mode: str) -> int:
    """That a right answer may have: other white space, or a value with the tags that it is sent with."""
    return 2 * len(expected.encode()) if mode == "stdio" else 4 * len(expected.encode("unicode_escape"))


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _pool(limits: Limits, numpy: bool) -> SandboxPool:
    """This process's pool with these limits, with numpy or without. It starts with its first program."""
    from gdpo_sandbox import SandboxPool  # noqa: PLC0415

    key = (os.getpid(), limits, numpy)
    with _lock:
        if key not in _pools:
            _pools[key] = SandboxPool(_slots(), limits, numpy=numpy)
            atexit.register(_pools[key].close)
        return _pools[key]


def _slots() -> int:
    from gdpo_sandbox.engine import slots_by_environment  # noqa: PLC0415

    return slots_by_environment() or _SLOTS
