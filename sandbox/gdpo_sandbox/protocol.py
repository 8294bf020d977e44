"""What goes to a container and comes back: a `Program` and its inputs as messages, messages as `Outcome`s."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from gdpo_sandbox.errors import ProgramError
from gdpo_sandbox.image.worker import values
from gdpo_sandbox.image.worker.budget import Budget
from gdpo_sandbox.program import Limits, Opaque, Outcome, Program, Status

_MAX_ARGUMENT_BYTES = 1 << 30
_CONTAINERS = 3
"""That a program may leave unclean. Each costs a start, for which the program pays nothing."""
_FAILED_STDOUT_CHARACTERS = 4_000
_ESCAPES = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}
"""Of bytes as `surrogateescape` decodes them."""


def wall_s(limits: Limits) -> float:
    """Seconds that a test may take."""
    return 3 * limits.cpu_s + 2 if limits.wall_s is None else limits.wall_s


def program_cpu_s(limits: Limits) -> float:
    """Seconds of CPU that all tests may take."""
    return 10 * limits.cpu_s if limits.program_cpu_s is None else limits.program_cpu_s


def full_budget(limits: Limits) -> Budget:
    """What a program may use over all of its tests, before the first."""
    cpu_s = program_cpu_s(limits)
    return Budget(
        cpu_s=cpu_s,
        wall_s=cpu_s / limits.cpu_s * wall_s(limits),
        output_bytes=limits.program_output_bytes or 16 * limits.output_bytes,
        timeouts=limits.timeouts,
        containers=_CONTAINERS,
    )


def encode_program(program: Program, tests: int, limits: Limits, budget: Budget) -> dict[str, Any]:
    """All of the program but its inputs.

    Args:
        program: The program.
        tests: How many are to run.
        limits: Of each.
        budget: Left for all of them.
    """
    isolation = program.isolation or ("test" if program.mode == "stdio" else "program")
    return {
        "source": program.source,
        "mode": program.mode,
        "entry": program.entry,
        "isolation": isolation,
        "tests": tests,
        "limits": vars(limits) | {"wall_s": wall_s(limits), "program_cpu_s": program_cpu_s(limits)},
        "budget": vars(budget),
    }


def encode_inputs(program: Program) -> list[bytes]:
    """Each test's input.

    Raises:
        ProgramError: One cannot be sent; says which.
    """
    inputs = []
    for index, test in enumerate(program.inputs):
        try:
            if program.mode == "call":
                inputs.append(values.encode(_arguments(test), _MAX_ARGUMENT_BYTES, strict=True).encode())
            elif test is None or isinstance(test, str):
                inputs.append((test or "").encode("utf-8", "surrogateescape"))
            else:
                raise TypeError(f"text expected, not {type(test).__name__}")
        except (TypeError, ValueError) as error:
            raise ProgramError(f"Program: inputs[{index}] cannot be sent: {error}.") from error
    return inputs


def decode_outcomes(message: dict[str, Any], blobs: memoryview) -> Iterator[Outcome]:
    """A message's outcomes one by one, so that the value of one can be forgotten before the next is built.

    Args:
        message: As the dispatcher sends it. Only the last one of a container's work has peaks of memory, of all tests.
        blobs: Standard output and value of each outcome, one after the other. A program may have forged the value.
    """
    outcomes, start = message["outcomes"], 0
    peaks = message["peaks"][-len(outcomes) :] if "peaks" in message else itertools.repeat(0.0)
    for fields, peak_mb in zip(outcomes, peaks, strict=False):
        middle = start + fields["stdout"]
        end = middle + (fields["value"] or 0)
        yield _outcome(fields, bytes(blobs[start:middle]), bytes(blobs[middle:end]), peak_mb)
        start = end


def _outcome(fields: dict[str, Any], stdout: bytes, encoded: bytes, peak_mb: float) -> Outcome:
    status, text, value, error = Status(fields["status"]), _text(stdout), None, fields["error"]
    if status is not Status.OK:
        text = text[:_FAILED_STDOUT_CHARACTERS]
    if fields["value"] is not None:
        try:
            value = values.decode(encoded.decode(), Opaque)
        except ValueError as problem:
            status, error = Status.NO_RESULT, f"What it returned cannot be read: {problem}."
    return Outcome(
        status, text, value, error, fields["stderr"], fields["exit_code"], fields["cpu_s"], fields["wall_s"], peak_mb
    )


def _text(data: bytes) -> str:
    """UTF-8, with other bytes escaped. The error handler `backslashreplace` does that too, in five times the time."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape").translate(_ESCAPES)


def sandbox_error(error: Exception) -> Outcome:
    """An outcome that says nothing of the program."""
    return Outcome(Status.SANDBOX_ERROR, error=str(error))


def _arguments(test: Any) -> list[Any]:
    if not isinstance(test, Sequence) or isinstance(test, str | bytes):
        raise TypeError(f"a sequence of arguments expected, not {type(test).__name__}")
    return list(test)
