"""A main program as `python solution.py` has it: its streams, what an uncaught exception does, and how it ends.

After CPython 3.11: `create_stdio` and `Py_FinalizeEx` in pylifecycle.c, `PyErr_PrintEx` in pythonrun.c. The
interpreter's own end would take 20 ms in a forked process, as it writes to nearly every page of it. So `finish` does of
it what programs notice: it waits for threads, calls what `atexit` was given, flushes the streams, and lets the
program's globals go. What only the interpreter itself can end, `leave` leaves to it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib.machinery
import opcode
import operator
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any, NoReturn

SOURCE_NAME = "solution.py"
_STREAMS = {
    "stdin": ("r", -1, "surrogateescape"),
    "stdout": ("w", -1, "surrogateescape"),
    "stderr": ("w", 1, "backslashreplace"),
}
"""Mode, buffering (1: by line), and what becomes of characters without a code."""
_RECURSION_LIMIT = 1000
_ERROR_LENGTH = 500
_CAUSES = 100
"""Exceptions behind an exception that are looked at; a program may join them into a ring."""
_UNFLUSHED, _INTERRUPTED = 120, 128 + signal.SIGINT
_PASSED_ON = frozenset(opcode.opmap[name] for name in ("RAISE_VARARGS", "YIELD_VALUE", "RESUME"))
"""Instructions where an exception begins that a program made: by `raise`, or thrown into a generator."""


@dataclass(frozen=True)
class End:
    """How the last line of a program, or an uncaught exception, leaves it."""

    exit_code: int = 0
    """As the shell would show it."""
    error: str = ""
    """Type and message of what it ended by, unless all is well."""
    out_of_memory: bool = False


def open_streams() -> None:
    """Standard input, output and error over descriptors 0 to 2, as Python opens them at its start."""
    for number, (name, (mode, buffering, errors)) in enumerate(_STREAMS.items()):
        stream: Any = open(number, mode, buffering, "utf-8", errors, newline="\n", closefd=False)  # noqa: SIM115 - stays
        stream.buffer.raw.name = f"<{name}>"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def main_module(name: str) -> ModuleType:
    """The module that takes the place of the main one, with what a main one holds before its first line."""
    module = ModuleType(name)
    loader = importlib.machinery.SourceFileLoader(name, SOURCE_NAME)
    vars(module).update(
        __loader__=loader,
        __annotations__={},
        __builtins__=sys.modules["builtins"],
        __file__=os.path.abspath(SOURCE_NAME),
        __cached__=None,
    )
    sys.modules["__main__"] = sys.modules[name] = module
    return module


def run(code: CodeType) -> End:
    """Run the program up to the end of its last line, or until an exception that nothing caught has been told."""
    try:
        execute(code, "__main__")
    except BaseException as error:
        flush()
        return report(error)
    flush()
    return End()


def execute(code: CodeType, name: str) -> ModuleType:
    """Run source text as a new main module, which is returned."""
    module = main_module(name)
    frame, frames = sys._getframe(), 0
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        frames += 1
    sys.setrecursionlimit(_RECURSION_LIMIT + frames)  # as if the program's frame were the first
    try:
        exec(code, vars(module))
    finally:
        sys.settrace(None)
        sys.setprofile(None)
    return module


def report(error: BaseException) -> End:
    """Do with an uncaught exception what Python does with it."""
    if isinstance(error, SystemExit):
        return _exit(error)
    out_of_memory = isinstance(error, MemoryError) and any(map(_allocation_failed, _causes(error)))
    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_globals.get("__package__") == __package__:
        inner = inner.tb_next  # our own frames
    try:
        sys.excepthook(type(error), error.with_traceback(inner), inner)
    except SystemExit as end:  # of a hook of the program's own
        return _exit(end)
    except BaseException:
        _try(traceback.print_exc)
    interrupted = isinstance(error, KeyboardInterrupt)
    return End(_INTERRUPTED if interrupted else 1, describe(error), out_of_memory)


def finish() -> int:
    """End the program; the exit code that this asks for, 0 if all went well."""
    threading = sys.modules.get("threading")
    if threading is not None:
        _try(threading._shutdown)
    atexit._run_exitfuncs()
    flushed = flush()
    if gc.isenabled():
        gc.collect()
    for name in _STREAMS:
        setattr(sys, name, getattr(sys, f"__{name}__", None))  # one of the program's own goes, and may write at that
    sys.modules.pop("__main__", None)
    gc.collect()  # the program's globals: files over descriptor 1 write their buffers
    flush()
    return 0 if flushed else _UNFLUSHED


def unfinished() -> bool:
    """Whether the program has left an object, in a module or a cache, that does something when it goes."""
    ours = {id(part) for name in _STREAMS for part in _parts(getattr(sys, f"__{name}__", None))}
    left = [thing for thing in gc.get_objects() if hasattr(type(thing), "__del__")]  # a generator would find itself
    return not all(id(thing) in ours or _is_closed(thing) for thing in left)


def leave(exit_code: int) -> NoReturn:
    """End the interpreter itself, and this process."""
    end: Any = ctypes.pythonapi.Py_Exit
    gc.unfreeze()
    ours = [vars(module) for name, module in sys.modules.items() if name.startswith(f"{__package__}.")]
    for names in ours:
        names.clear()  # what they name would outlive the program's objects, as our frames are still there
    end(exit_code)
    raise AssertionError


def flush() -> bool:
    """Flush standard output and error, whatever they have been replaced by; whether nothing went wrong."""
    flushed = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is not None and not _is_closed(stream):
            flushed &= _try(operator.methodcaller("flush"), stream)
    return flushed


def describe(error: BaseException) -> str:
    """Type and message, or the type alone."""
    try:
        return f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]
    except BaseException:
        return type(error).__name__


def _exit(end: SystemExit) -> End:
    code = end.code
    if code is None:
        return End()
    if not isinstance(code, int):
        _try(print, code, file=getattr(sys, "stderr", None) or sys.__stderr__)
        return End(1, describe(end))
    exit_code = code & 255 if -(1 << 63) <= code < 1 << 63 else 255
    return End(exit_code, describe(end) if exit_code else "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it."""
    link: BaseException | None = error
    for _ in range(_CAUSES):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _allocation_failed(error: BaseException) -> bool:
    """Whether the interpreter raised this MemoryError, rather than a program of its own accord."""
    trace = error.__traceback__
    if not isinstance(error, MemoryError) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] not in _PASSED_ON


def _try(action: Callable[..., object], *arguments: Any, **options: Any) -> bool:
    """Do something that may lead into the program's code; whether it raised nothing."""
    try:
        action(*arguments, **options)
    except BaseException:
        return False
    return True


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except BaseException:  # it need not have the attribute
        return False


def _parts(stream: Any) -> Iterator[Any]:
    """A stream and those beneath it."""
    while stream is not None:
        yield stream
        try:
            stream = stream.buffer if hasattr(stream, "buffer") else stream.raw
        except (AttributeError, ValueError):  # the last one, or a detached one
            return
