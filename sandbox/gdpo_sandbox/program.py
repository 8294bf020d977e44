"""What is run and what comes back: `Program` in, `ProgramRun` out. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from gdpo_sandbox.errors import ProgramError

Mode = Literal["stdio", "call"]


class Status(StrEnum):
    """How one test of a program ended."""

    OK = "ok"
    """It ended by itself without an error. Whether its answer is right is not the sandbox's business."""
    COMPILE_ERROR = "compile error"
    RUNTIME_ERROR = "runtime error"
    """An uncaught exception, or an exit code other than 0."""
    TIMEOUT = "timeout"
    MEMORY_LIMIT = "memory limit"
    OUTPUT_LIMIT = "output limit"
    SIGNAL = "signal"
    """Ended by a signal that no limit explains, such as a segmentation fault."""
    NO_RESULT = "no result"
    """A call that never returned although its process ended, as after `os._exit(0)`."""
    NOT_RUN = "not run"
    """The program had used its budget for all tests before this one was due; it counts as failed."""
    SANDBOX_ERROR = "sandbox error"
    """The sandbox failed, twice; it says nothing of the program and must never become a reward."""


@dataclass(frozen=True)
class Limits:
    """What a program may use: CPU and wall time, and output, in a test and over all tests; the rest at any time.

    A program that has used what it may over all tests is ended, and the tests that are left are *not run*.

    Raises:
        ProgramError: A limit is not positive.
    """

    cpu_s: float = 5.0
    """Seconds of CPU, summed over a test's processes and threads."""
    wall_s: float | None = None
    """Seconds that may pass, whatever they are spent on; 3 × `cpu_s` + 2 by default."""
    memory_mb: int = 512
    """MiB of memory, files in the working directory included."""
    processes: int = 32
    """Processes and threads at one time."""
    output_bytes: int = 1 << 20
    """Bytes of stdout, of stderr, of a call's encoded value, and of any file it writes."""
    files_mb: int = 32
    """MiB of files in the working directory."""
    open_files: int = 64
    program_cpu_s: float | None = None
    """Seconds of CPU over all tests; 10 × `cpu_s` by default. As many times `wall_s` may pass."""
    program_output_bytes: int | None = None
    """Bytes of stdout and of encoded values over all tests; 16 × `output_bytes` by default."""
    timeouts: int = 3
    """Tests that may end in a time-out, the last of which ends the program."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ProgramError(f"Limits: {name} must be positive; got {value!r}.")


@dataclass(frozen=True)
class Program:
    """A program and the inputs of its tests. Expected outputs never enter the sandbox.

    Raises:
        ProgramError: `mode="call"` without `entry`, or `entry` with `mode="stdio"`.
    """

    source: str
    """Python source text."""
    inputs: Sequence[Any]
    """One item a test. `stdio`: the text of standard input, None for an empty one. `call`: the sequence of arguments,
    built of None, bool, int, float, complex, str, bytes, list, tuple, dict, set and frozenset."""
    mode: Mode = "stdio"
    """`stdio` runs the program once a test; `call` defines it once and calls `entry` once a test."""
    entry: str | None = None
    """Name of the function, or of a method of the class `Solution`."""
    isolation: Literal["test", "program"] | None = None
    """Whether each test has a process of its own; by default so for `stdio`, and one process a program for `call`."""

    def __post_init__(self) -> None:
        if self.mode not in ("stdio", "call"):
            raise ProgramError(f"Program: mode must be 'stdio' or 'call'; got {self.mode!r}.")
        if self.mode == "call" and not self.entry:
            raise ProgramError("Program: mode 'call' needs entry, the name of the function to call.")
        if self.mode == "stdio" and self.entry is not None:
            raise ProgramError(f"Program: mode 'stdio' calls no function; got entry={self.entry!r}.")


@dataclass(frozen=True)
class Opaque:
    """Stands for a returned object that is not plain data; equal to nothing but itself."""

    type_name: str
    text: str
    """Its `repr`, cut off."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(frozen=True)
class Outcome:
    """What became of one test."""

    status: Status
    stdout: str = ""
    """Always text: bytes that are not UTF-8 are escaped as `\\xff`. Only its first 4,000 characters unless `status` is
    OK."""
    value: Any = None
    """What the call returned, as plain builtin objects of exact type (subclasses become their builtin base);
    `Opaque` where it is something else. None for `stdio`, and unless `status` is OK."""
    error: str = ""
    """Type and message of the uncaught exception or compile error, or what the sandbox failed on."""
    stderr: str = ""
    """The end of it, at most 2,000 characters."""
    exit_code: int | None = None
    """As the shell would show it; negative for a signal; None where no process of its own ended."""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_mb: float = 0.0


@dataclass(frozen=True)
class ProgramRun:
    """What became of a program: one outcome for each of its inputs, in their order."""

    tests: tuple[Outcome, ...]

    @property
    def failed(self) -> bool:
        """Whether the sandbox failed on any test, so that nothing may be concluded."""
        return any(test.status is Status.SANDBOX_ERROR for test in self.tests)
