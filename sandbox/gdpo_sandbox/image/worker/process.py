"""A program's process as the dispatcher sees it: asked, awaited, and ended when it reaches a limit.

Input and output are files in memory of which the process has descriptions of its own, so that nothing it does to them,
nor how fast it reads, can make the dispatcher wait.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .child import TOKEN_BYTES
from .frames import ClosedError

BOX = "/tmp"
"""The only place where programs can write files; their working directory."""
HOST = 0
"""The descriptor that programs come on."""
FORK, EMPTY, REAP = b"F", b"E", b"R"
ENDED = struct.Struct("=idq")
"""How a process ended: wait status, CPU seconds, peak memory in KiB."""
PATIENCE_S = 10.0
"""Within which a killed process must be gone."""
_KILL_EVERY_S = 0.05
_ANSWERS: dict[str, dict[str, type]] = {
    "ready": {},
    "uncompiled": {"error": str},
    "raised": {"error": str, "out_of_memory": bool},
    "returned": {},
    "too_large": {},
    "finished": {"exit_code": int, "error": str, "out_of_memory": bool, "reusable": bool},
    "leaving": {"error": str, "out_of_memory": bool},
}
"""What a process can say, and the details that go with it. Only "returned" has a value."""
_HEAD_BYTES = 8192
"""Of an answer without its value. It is JSON that a program may have forged, and could take thirty times its length."""
AT_START, TO_CALL, TO_RUN = (
    frozenset({"ready", "uncompiled", "raised"}),
    frozenset({"returned", "raised", "too_large"}),
    frozenset({"finished", "leaving"}),
)
"""What it can say to which request."""


class FaultError(Exception):
    """The sandbox itself does not work as it should, and the container is of no further use."""


@dataclass
class Answer:
    """What a process said to a request, and what it used meanwhile."""

    kind: str
    """What it said; "died" if it ended instead, or after it said that it would; "timeout", "flood" or "nonsense" if it
    was killed for that."""
    details: dict[str, Any]
    value: bytes
    """What a call returned, encoded; only the host reads it."""
    cpu_s: float
    """Of all of the program's processes."""
    wall_s: float


class Process:
    """One forked process, from before it has a program until after its end.

    Args:
        zygote: Who forks it.
        cpu: Seconds of CPU that all processes have used so far.
    """

    def __init__(self, zygote: socket.socket, cpu: Callable[[], float]) -> None:
        self._zygote = zygote
        self._cpu = cpu
        self._files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        modes = (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND)
        theirs = [os.open(f"/proc/self/fd/{fd}", mode) for fd, mode in zip(self._files, modes, strict=True)]
        token_reader, self._tokens = os.pipe()
        self._answers, answer_writer = os.pipe()
        os.set_blocking(self._answers, False)
        theirs += [token_reader, answer_writer]
        socket.send_fds(zygote, [FORK], theirs)
        for fd in theirs:
            os.close(fd)
        self._poll = select.poll()
        self._poll.register(zygote, select.POLLIN)
        self._poll.register(self._answers, select.POLLIN)
        self._poll.register(HOST, 0)  # only whether it goes away
        self._line, self._searched = bytearray(), 0
        self._answers_open = True
        self._asked = False
        self.wait_status: int | None = None
        self.peak_kib = 0
        """Both known once it has ended."""

    def ask(self, request: bytes, limits: dict[str, Any], expected: frozenset[str]) -> Answer:
        """Give it a request, and wait until it has answered, or ended, or reached a limit and been killed.

        Raises:
            ClosedError: The host went away meanwhile.
            FaultError: The process cannot be killed.
        """
        token = os.urandom(TOKEN_BYTES // 2).hex().encode()
        _write(self._files[0], request)
        cpu, start = self._cpu(), time.perf_counter()
        try:
            self._asked = bool(os.write(self._tokens, token))
        except BrokenPipeError:  # it has ended, or has closed its side and will not answer
            self._asked = False
        max_bytes = limits["output_bytes"]
        deadline, check = start + limits["wall_s"], start + limits["cpu_s"]
        kind, details, value = self._parse(self._read(max_bytes), token, expected, max_bytes)
        last_words: dict[str, Any] = {}
        while not kind or kind == "leaving":
            if kind:
                kind, details, last_words = "died" if self._has_ended(0) else "", {}, details
            now = time.perf_counter()
            if now >= check:  # it can hardly have used that much before
                left = limits["cpu_s"] - (self._cpu() - cpu)
                check = now + max(left, 0.02)
                if left <= 0:
                    kind = "timeout"
            if now >= deadline:
                kind = "timeout"
            events = [] if kind else self._poll.poll(1000 * (min(check, deadline) - now))
            if (HOST, select.POLLHUP) in events:
                raise ClosedError("The host went away.")
            if events:
                died = self._has_ended(0)
                kind, details, value = self._parse(self._read(max_bytes), token, expected, max_bytes)
                kind = kind or ("died" if died else "")
        if kind in ("timeout", "flood", "nonsense"):
            self.end()
        details |= last_words
        return Answer(kind, details, value, max(0.0, self._cpu() - cpu), time.perf_counter() - start)

    def end(self) -> None:
        """Kill it, if it still runs, with all other processes of the program.

        Raises:
            FaultError: It will not die.
        """
        deadline = time.monotonic() + PATIENCE_S
        while self.wait_status is None:
            kill_all()  # again and again: on a busy machine it may not have been forked yet
            if not self._has_ended(_KILL_EVERY_S) and time.monotonic() > deadline:
                raise FaultError("A killed process is still there.")

    def took_request(self) -> bool:
        """Whether it has read the last request's token, and so had done with the one before."""
        return self._asked and fcntl.ioctl(self._tokens, termios.FIONREAD, bytes(4)) == bytes(4)

    def take_output(self, max_bytes: int, stderr_bytes: int) -> tuple[bytes, bytes, bool]:
        """What it has written by now: the beginning of stdout, the end of stderr, and whether either is too long."""
        _, stdout, stderr = self._files
        sizes = os.fstat(stdout).st_size, os.fstat(stderr).st_size
        taken = os.pread(stdout, max_bytes, 0), os.pread(stderr, stderr_bytes, max(0, sizes[1] - stderr_bytes))
        for fd, size in zip((stdout, stderr), sizes, strict=True):
            if size:
                os.ftruncate(fd, 0)
        return *taken, max(sizes) > max_bytes

    def close(self) -> None:
        """Release its files."""
        for fd in (*self._files, self._tokens, self._answers):
            os.close(fd)

    def _has_ended(self, seconds: float) -> bool:
        if self.wait_status is None and select.select([self._zygote], [], [], seconds)[0]:
            self.wait_status, _, self.peak_kib = ENDED.unpack(self._zygote.recv(ENDED.size))
        return self.wait_status is not None

    def _read(self, max_bytes: int) -> bytes | None:
        """The next line, or what there is of it where it is longer than allowed; None while it is incomplete."""
        most = _HEAD_BYTES + max_bytes
        while (end := self._line.find(b"\n", self._searched)) < 0 and len(self._line) <= most and self._answers_open:
            self._searched = len(self._line)
            try:
                data = os.read(self._answers, 1 << 16)
            except BlockingIOError:
                return None
            if not data:
                self._answers_open = False
                self._poll.unregister(self._answers)  # or it would be ready for ever
            self._line += data
        if end < 0:
            if len(self._line) <= most:
                return None
            end = len(self._line)
        line = bytes(memoryview(self._line)[:end])
        del self._line[: end + 1]
        self._searched = 0
        return line

    @staticmethod
    def _parse(
        line: bytes | None, token: bytes, expected: frozenset[str], max_bytes: int
    ) -> tuple[str, dict[str, Any], bytes]:
        """Kind, details and value of the answer on a line; no kind if there is no line."""
        if line is None:
            return "", {}, b""
        head, _, value = line.partition(b"\t")
        if len(head) > _HEAD_BYTES or len(value) > max_bytes:
            return "flood", {}, b""
        try:
            kind, details = json.loads(head.removeprefix(token + b" "))
            fits = kind in expected and {name: type(item) for name, item in details.items()} == _ANSWERS[kind]
        except (ValueError, TypeError, AttributeError, RecursionError):
            fits = False
        if not fits or not head.startswith(token) or bool(value) != (kind == "returned"):
            return "nonsense", {}, b""
        return kind, details, value


def kill_all() -> bool:
    """Kill all processes but PID 1 and this one; whether there were any, zombies included."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _write(fd: int, data: bytes) -> None:
    position = 0
    while position < len(data):
        position += os.pwrite(fd, memoryview(data)[position:], position)
    os.ftruncate(fd, position)
