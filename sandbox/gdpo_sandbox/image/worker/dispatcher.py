"""Takes programs from the host, has them run test by test, judges how each test ended, and cleans up.

A program arrives as a frame that describes it and one frame for each test's input. An input is read when its test is
due, so that no process, not even this one, holds inputs of later tests.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from typing import Any, NoReturn

from . import usage
from .budget import Budget
from .frames import ClosedError, FrameReader, pack_json
from .process import AT_START, BOX, EMPTY, HOST, REAP, TO_CALL, TO_RUN, Answer, Process, kill_all

_STDERR_CHARACTERS, _ERROR_CHARACTERS = 2_000, 500
_FAILED_STDOUT_BYTES = 16_000
"""Of a test that did not end well, in which nothing can be right. The host shows 4,000 characters."""
_SEND_BYTES, _SEND_EVERY_S = 1 << 16, 0.25
_CLEAN_WITHIN_S = 5.0

Outcome = dict[str, Any]
"""One test's outcome: the fields of the host's `Outcome`, with standard output and value still as bytes."""


class Dispatcher:
    """What talks with the host, on standard input and output.

    Args:
        zygote: Who forks.
    """

    def __init__(self, zygote: socket.socket) -> None:
        self._zygote = zygote
        self._cpu, self._oom_kills = usage.cpu_meter(), usage.oom_meter()
        self._oom_kills_before = 0
        self._empty_box = _box_usage()
        self._frames = FrameReader(lambda: os.read(HOST, 1 << 20))
        self._held: Outcome | None = None
        self._outcomes: list[Outcome] = []
        self._unsent_bytes, self._sent_at = 0, 0.0

    def serve(self) -> NoReturn:
        """Greet the host and run its programs, until it goes away or something is wrong here."""
        try:
            self._reap()  # answered when the zygote is ready; the first program's time does not pay for that
            self._prepared: Process | None = self._fork()
            self._send({"python": sys.version.split()[0]})
            while True:
                self._run(json.loads(self._frames.next()))
                self._prepared = self._prepared or self._fork()  # while the host reads what came out
        except ClosedError:
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)

    def _fork(self) -> Process:
        return Process(self._zygote, self._cpu)

    def _reap(self) -> None:
        self._zygote.send(REAP)
        self._zygote.recv(struct.calcsize("i"))

    def _run(self, program: dict[str, Any]) -> None:
        """Run a program's tests, and send their outcomes.

        A container that is not clean between two of them leaves the rest to another one.
        """
        self._sent_at = time.monotonic()
        budget = Budget(**program["budget"])
        peaks: list[float] = []
        clean, left = True, int(program["tests"])
        while clean and left and not budget.spent:
            process, self._prepared = self._prepared or self._fork(), None
            tests = self._run_process(process, program, budget, left)
            process.end()
            process.close()
            peaks += [process.peak_kib / 1024] * tests
            left -= tests
            start = time.monotonic()
            clean = self._clean_up()
            budget.spend(wall_s=time.monotonic() - start, containers=not clean)
        if clean and left:
            self._skip(left, budget.spent)
            peaks += [0.0] * left
        self._send({"peaks": peaks, "clean": clean, "budget": vars(budget)})
        if not clean:
            os._exit(0)

    def _skip(self, tests: int, why: str) -> None:
        """Pass over tests that may not run any more."""
        for _ in range(tests):
            self._next_input()
            self._add(_outcome("not run", f"Not run: {why}."))

    def _run_process(self, process: Process, program: dict[str, Any], budget: Budget, left: int) -> int:
        """Run tests in one process for as long as it is of use; how many."""
        self._oom_kills_before = self._oom_kills()
        answer = self._ask(process, json.dumps(program).encode(), program, budget, AT_START)
        if answer.kind != "ready":
            tests = left if left == program["tests"] else 1  # the first would end like this each time
            outcome = self._judge(process, answer, program)
            for _ in range(tests):
                self._next_input()
                self._add(outcome)
            return tests
        calls, most = program["mode"] == "call", 1 if program["isolation"] == "test" else left
        tests, reusable = 0, True
        while reusable and tests < most and not budget.spent:
            if not self._has_input():
                self._settle(process, program, budget)
                if process.wait_status is not None:
                    break
            answer = self._ask(process, self._next_input(), program, budget, TO_CALL if calls else TO_RUN)
            self._settle(process, program, budget, answer)
            outcome = self._judge(process, answer, program)
            budget.spend(output_bytes=len(outcome["stdout"]) + len(outcome["value"] or b""))
            if calls:
                self._held = outcome
            else:
                self._add(outcome)
            tests += 1
            reusable = answer.kind in TO_CALL or answer.details.get("reusable", False)
        self._settle(process, program, budget)
        return tests

    def _ask(
        self, process: Process, request: bytes, program: dict[str, Any], budget: Budget, expected: frozenset[str]
    ) -> Answer:
        """Ask a process, at the expense of the program's budget."""
        answer = process.ask(request, budget.caps(program["limits"]), expected)
        budget.spend(cpu_s=answer.cpu_s, wall_s=answer.wall_s, timeouts=answer.kind == "timeout")
        return answer

    def _settle(self, process: Process, program: dict[str, Any], budget: Budget, answer: Answer | None = None) -> None:
        """Send the outcome of the last call, if its process went on after it.

        One that writes a result and ends, or writes several, did not return from the call.

        Args:
            process: Which it was.
            program: For asking whether it is still there.
            budget: What that is paid from.
            answer: To the next call; that tells too.
        """
        outcome, self._held = self._held, None
        if outcome is None:
            return
        if outcome["status"] == "ok":
            answer = answer or self._ask(process, b"", program, budget, AT_START)
            if answer.kind == "nonsense" or not process.took_request():
                outcome |= {
                    "status": "no result",
                    "value": None,
                    "error": "A result came, but the call did not return.",
                }
        self._add(outcome)

    def _judge(self, process: Process, answer: Answer, program: dict[str, Any]) -> Outcome:
        status, error, exit_code = _status(answer, process, runs=program["mode"] == "stdio")
        max_bytes = program["limits"]["output_bytes"]
        stdout, stderr, overflow = process.take_output(max_bytes, 4 * _STDERR_CHARACTERS)
        if status != "ok" and self._oom_kills() > self._oom_kills_before:
            status = "memory limit"
        if overflow:
            status = "output limit"
        return _outcome(
            status,
            error[:_ERROR_CHARACTERS],
            stdout=stdout if status == "ok" else stdout[:_FAILED_STDOUT_BYTES],
            value=answer.value if status == "ok" and answer.kind == "returned" else None,
            stderr=stderr.decode("utf-8", "backslashreplace")[-_STDERR_CHARACTERS:],
            exit_code=exit_code,
            cpu_s=answer.cpu_s,
            wall_s=answer.wall_s,
        )

    def _clean_up(self) -> bool:
        """Kill what processes there are, remove what files there are; whether none are left."""
        deadline = time.monotonic() + _CLEAN_WITHIN_S
        while kill_all():
            self._reap()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.0002)
        if _box_usage() != self._empty_box:
            self._zygote.send(EMPTY)
            if not select.select([self._zygote], [], [], _CLEAN_WITHIN_S)[0]:
                return False
            self._zygote.recv(64)
        return _box_usage() == self._empty_box

    def _next_input(self) -> bytes:
        if not self._has_input():
            self._send_outcomes()  # the host may be waiting for them before it sends more
        return self._frames.next()

    def _has_input(self) -> bool:
        return self._frames.pending or bool(select.select([HOST], [], [], 0)[0])

    def _add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._unsent_bytes += len(outcome["stdout"]) + len(outcome["value"] or b"")
        if self._unsent_bytes > _SEND_BYTES or time.monotonic() > self._sent_at + _SEND_EVERY_S:
            self._send_outcomes()

    def _send_outcomes(self) -> None:
        if self._outcomes:
            self._send({})

    def _send(self, message: dict[str, Any]) -> None:
        """Send a message, with the outcomes there are: in place of their bytes, how many."""
        outcomes, blobs = [], []
        for outcome in self._outcomes:
            stdout, value = outcome["stdout"], outcome["value"]
            blobs += [stdout, value or b""]
            outcomes.append(outcome | {"stdout": len(stdout), "value": None if value is None else len(value)})
        self._outcomes, self._unsent_bytes = [], 0
        frame = memoryview(pack_json(message | {"outcomes": outcomes}, blobs))
        while frame:
            frame = frame[os.write(1, frame) :]
        self._sent_at = time.monotonic()


def _outcome(status: str, error: str, **more: Any) -> Outcome:
    nothing: Outcome = {"stdout": b"", "value": None, "stderr": "", "exit_code": None, "cpu_s": 0.0, "wall_s": 0.0}
    return nothing | {"status": status, "error": error} | more


def _status(answer: Answer, process: Process, runs: bool) -> tuple[str, str, int | None]:
    """Status, error and exit code, as far as the answer tells."""
    if answer.kind == "died":
        return _status_of_dead(os.waitstatus_to_exitcode(process.wait_status or 0), runs, answer.details)
    error, exit_code = answer.details.get("error", ""), answer.details.get("exit_code")
    if answer.kind == "raised" or exit_code:
        return "memory limit" if answer.details["out_of_memory"] else "runtime error", error, exit_code
    status, error = {
        "returned": ("ok", ""),
        "finished": ("ok", ""),
        "uncompiled": ("compile error", error),
        "timeout": ("timeout", ""),
        "flood": ("output limit", ""),
        "too_large": ("output limit", ""),
        "nonsense": ("no result", "The program wrote something where only results belong."),
    }[answer.kind]
    return status, error, exit_code


def _status_of_dead(exit_code: int, runs: bool, last_words: dict[str, Any]) -> tuple[str, str, int]:
    if exit_code < 0:
        by_limit = {int(signal.SIGXCPU): "timeout", int(signal.SIGXFSZ): "output limit"}
        return by_limit.get(-exit_code, "signal"), f"Ended by signal {-exit_code}.", exit_code
    if exit_code:
        status = "memory limit" if last_words.get("out_of_memory") else "runtime error"
        return status, last_words.get("error") or f"Exited with {exit_code}.", exit_code
    return ("ok", "", 0) if runs else ("no result", "Exited before the call returned.", 0)


def _box_usage() -> tuple[int, int]:
    """Files and blocks in use in the working directory's file system."""
    stat = os.statvfs(BOX)
    return stat.f_files - stat.f_ffree, stat.f_blocks - stat.f_bfree
