"""The untrusted side: a forked process that becomes nobody, takes a program from the dispatcher, and runs its tests.

It answers each request with one line on descriptor 4: a token, what happened as JSON, a tab, and the value if there is
one. A request is a file on descriptor 0 and a token on descriptor 3, so that an answer that comes too early or twice is
known for what it is. The program shares this process, and can write such a line itself: that gains it no more than
returning the value would.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any, NoReturn

from . import confine, interpreter, values

TOKEN_BYTES = 16
_HIGH = 64
"""Above the descriptors that files come on."""


class Child:
    """What a forked process does, from its first moment to its last.

    Args:
        files: Of standard input, output and error, of tokens, and of answers; they become descriptors 0 to 4.
        uid: The user to become.
    """

    def __init__(self, files: Sequence[int], uid: int) -> None:
        high = [fcntl.fcntl(file, fcntl.F_DUPFD, _HIGH) for file in files]
        for number, file in enumerate(high):
            os.dup2(file, number, inheritable=number < 3)
        os.closerange(len(high), high[-1] + 1)
        confine.be_first_to_go()
        os.setsid()
        confine.become(uid)
        self._pid = os.getpid()
        self._token = b""
        self._max_bytes = 0

    def serve(self) -> NoReturn:
        """Await a program, then its tests, one by one."""
        waited_for = bool(select.select([3], [], [], 0)[0])
        if not waited_for:
            rehearse()
        self._await_request()
        program = json.loads(_request())
        self._max_bytes = program["limits"]["output_bytes"]
        confine.limit_resources(program["limits"], tests=program["tests"])
        try:
            code = compile(program["source"], interpreter.SOURCE_NAME, "exec", dont_inherit=True)
        except BaseException as error:  # also MemoryError and RecursionError, from what no parser can read
            self._answer("uncompiled", error=interpreter.describe(error))
            os._exit(0)
        if program["mode"] == "call":
            self._serve_calls(code, program["entry"])
        self._serve_runs(code, finalizers="__del__" in program["source"])

    def _serve_runs(self, code: CodeType, finalizers: bool) -> NoReturn:
        self._answer("ready")
        while True:
            self._await_request()
            os.lseek(0, 0, os.SEEK_SET)
            interpreter.open_streams()
            self._run(code, finalizers)

    def _run(self, code: CodeType, finalizers: bool) -> None:
        """Run the program as `python solution.py` would, up to and including what happens at exit."""
        end = interpreter.run(code)
        if finalizers:  # they see how much of the interpreter is still there
            self._leave(end)
        exit_code = interpreter.finish() or end.exit_code
        if interpreter.unfinished():
            self._leave(end, exit_code)
        if os.getpid() != self._pid:
            os._exit(exit_code)
        reusable = "threading" not in sys.modules  # it does not wait for threads twice
        self._answer(
            "finished", exit_code=exit_code, error=end.error, out_of_memory=end.out_of_memory, reusable=reusable
        )

    def _leave(self, end: interpreter.End, exit_code: int | None = None) -> NoReturn:
        if os.getpid() == self._pid:
            self._answer("leaving", error=end.error, out_of_memory=end.out_of_memory)
        interpreter.leave(end.exit_code if exit_code is None else exit_code)

    def _serve_calls(self, code: CodeType, entry: str) -> NoReturn:
        interpreter.open_streams()
        try:
            function = _find(interpreter.execute(code, "solution"), entry)
        except BaseException as error:
            self._answer_raised(error)
            os._exit(1)
        interpreter.flush()
        self._answer("ready")
        while True:
            self._await_request()
            request = _request().decode()
            if not request:  # the dispatcher only asks whether the call before has returned
                self._answer("ready")
                continue
            os.lseek(0, 0, os.SEEK_END)  # there is nothing on standard input
            self._call(function, values.decode(request))

    def _call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        try:
            text = values.encode(function(*arguments), self._max_bytes)
            interpreter.flush()
        except values.TooLargeError:
            self._answer("too_large")
        except BaseException as error:
            self._answer_raised(error)
        else:
            self._answer("returned", value=text)

    def _answer_raised(self, error: BaseException) -> None:
        end = interpreter.report(error)
        interpreter.flush()
        self._answer("raised", error=end.error or interpreter.describe(error), out_of_memory=end.out_of_memory)

    def _await_request(self) -> None:
        self._token = os.read(3, TOKEN_BYTES)
        if not self._token:
            os._exit(0)

    def _answer(self, kind: str, value: str = "", **details: Any) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a copy that the program made
        line = b"%b %b\t%b\n" % (self._token, json.dumps([kind, details]).encode(), value.encode())
        while line:
            line = line[os.write(4, line) :]


def rehearse() -> None:
    """Do once what most programs will need: the zygote does it for its copies, and each copy that nobody waits for yet.

    So code is specialized once for all, and pages that the two would share are copied while nobody waits. It leaves
    nothing for the collector, whose counts a program can see.
    """
    interpreter.open_streams()
    program = json.loads(json.dumps({"source": "def f(x): return [x]\ndel f"}))
    interpreter.run(compile(program["source"], interpreter.SOURCE_NAME, "exec"))


def _request() -> bytes:
    """The content of standard input, wherever it has been read to."""
    parts, position = [], 0
    while part := os.pread(0, max(1, os.fstat(0).st_size), position):
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def _find(module: ModuleType, entry: str) -> Callable[..., Any]:
    """The function `entry`, or the method of that name of a new `Solution` for each call."""
    if entry in vars(module):
        return vars(module)[entry]  # type: ignore[no-any-return]
    solution: Any = vars(module).get("Solution")
    if not hasattr(solution, entry):
        raise NameError(f"no function {entry!r}, and no class Solution with such a method")

    def call(*arguments: Any) -> Any:
        return getattr(solution(), entry)(*arguments)

    return call
