"""The untrusted side: a forked process that becomes nobody, takes a program from the dispatcher, and runs its tests.

It answers each request with one line on descriptor 4: a token, what happened as JSON, a tab, and the value if there is
one. A request is a file on descriptor 0 and a token on descriptor 3, so that an answer that comes too early or twice is
known for what it is. The program shares this process, and can write such a line itself: that gains it no more than
returning the value would.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any, NoReturn

from . import confine, values

TOKEN_BYTES = 16
_HIGH = 64
"""Above the descriptors that files come on."""
_ERROR_LENGTH = 500
_TRACEBACK_FRAMES = 8


class Child:
    """What a forked process does, from its first moment to its last.

    Args:
        files: Of standard input, output and error, of tokens, and of answers; they become descriptors 0 to 4.
        uid: The user to become.
        box: The working directory.
    """

    def __init__(self, files: Sequence[int], uid: int, box: str) -> None:
        high = [fcntl.fcntl(file, fcntl.F_DUPFD, _HIGH) for file in files]
        for number, file in enumerate(high):
            os.dup2(file, number, inheritable=number < 3)
        os.closerange(len(high), high[-1] + 1)
        confine.be_first_to_go()
        os.setsid()
        confine.become(uid)
        os.umask(0o077)
        os.chdir(box)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        sys.path.pop(0)  # the worker's own
        sys.argv = ["solution.py"]
        self._pid = os.getpid()
        self._token = b""
        self._max_bytes = 0

    def serve(self) -> NoReturn:
        """Await a program, then its tests, one by one."""
        rehearse()
        self._await_request()
        program = json.loads(_request())
        self._max_bytes = program["limits"]["output_bytes"]
        confine.limit_resources(program["limits"], tests=program["tests"])
        _open_stdio()
        try:
            code = compile(program["source"], "solution.py", "exec", dont_inherit=True)
        except BaseException as error:  # also MemoryError and RecursionError, from what no parser can read
            self._answer("uncompiled", error=_describe(error))
            os._exit(0)
        if program["mode"] == "call":
            self._serve_calls(code, program["entry"])
        self._serve_runs(code)

    def _serve_runs(self, code: CodeType) -> NoReturn:
        self._answer("ready")
        while True:
            self._await_request()
            os.lseek(0, 0, os.SEEK_SET)
            _open_stdio()
            self._run(code)

    def _run(self, code: CodeType) -> None:
        """Run the program as `python solution.py` would, up to and including what happens at exit."""
        module = _module("__main__")
        exit_code, error, out_of_memory = 0, "", False
        try:
            exec(code, module.__dict__)
        except SystemExit as end:
            exit_code = _exit_code(end)
            error = _describe(end) if exit_code else ""
        except BaseException as raised:
            exit_code, error, out_of_memory = 1, _describe(raised), isinstance(raised, MemoryError)
            _print_traceback(raised)
        threading = sys.modules.get("threading")
        alone = threading is None or threading.active_count() == 1
        try:
            if threading is not None and not alone:
                threading._shutdown()
            atexit._run_exitfuncs()
            module.__dict__.clear()
            gc.collect()  # files of the program's own over descriptor 1 write their buffers
            _flush()
        except BaseException as raised:
            exit_code = exit_code or 120
            error = error or _describe(raised)
        if os.getpid() != self._pid:
            os._exit(exit_code)
        self._answer("finished", exit_code=exit_code, error=error, out_of_memory=out_of_memory, reusable=alone)

    def _serve_calls(self, code: CodeType, entry: str) -> NoReturn:
        try:
            module = _module("solution")
            exec(code, module.__dict__)
            function = _find(module, entry)
        except BaseException as error:
            _print_traceback(error)
            self._answer("raised", error=_describe(error), out_of_memory=isinstance(error, MemoryError))
            os._exit(1)
        _flush()
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
            _flush()
        except values.TooLargeError:
            self._answer("too_large")
        except BaseException as error:
            _print_traceback(error)
            self._answer("raised", error=_describe(error), out_of_memory=isinstance(error, MemoryError))
        else:
            self._answer("returned", value=text)

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
    """Do once what most programs will need: the zygote does it for its copies, and each copy before its program comes.

    So code is specialized once for all, and pages that the two would share are copied while nobody waits.
    """
    _open_stdio()
    program = json.loads(json.dumps({"source": "def f(x): return [x]"}))
    exec(compile(program["source"], "solution.py", "exec"), {})
    _flush()


def _request() -> bytes:
    """The content of standard input, wherever it has been read to."""
    parts, position = [], 0
    while part := os.pread(0, max(1, os.fstat(0).st_size), position):
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def _open_stdio() -> None:
    """Streams over descriptors 0 to 2, as Python opens them at its start."""
    for name, number, mode, errors in (
        ("stdin", 0, "r", "surrogateescape"),
        ("stdout", 1, "w", "surrogateescape"),
        ("stderr", 2, "w", "backslashreplace"),
    ):
        stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115 - stays open
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _module(name: str) -> ModuleType:
    """An empty module that takes the place of the main one."""
    module = ModuleType(name)
    module.__file__ = "solution.py"
    sys.modules["__main__"] = sys.modules[name] = module
    return module


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


def _flush() -> None:
    for file in (sys.stdout, sys.__stdout__, sys.stderr):
        if file is not None and not file.closed:
            file.flush()


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 255
    print(end.code, file=sys.stderr)
    return 1


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]
    except BaseException:
        return type(error).__name__


def _print_traceback(error: BaseException) -> None:
    try:
        inner = error.__traceback__ and error.__traceback__.tb_next  # without the frame above
        traceback.print_exception(type(error), error, inner, limit=-_TRACEBACK_FRAMES)
    except BaseException:
        pass
