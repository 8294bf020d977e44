"""What goes to a container and comes back: a `Program` and its inputs as messages, messages as `Outcome`s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gdpo_sandbox.errors import ProgramError
from gdpo_sandbox.image.worker import values
from gdpo_sandbox.program import Limits, Opaque, Outcome, Program, Status

_MAX_ARGUMENT_BYTES = 1 << 30


def wall_s(limits: Limits) -> float:
    """Seconds that a test may take."""
    return 3 * limits.cpu_s + 2 if limits.wall_s is None else limits.wall_s


def encode_program(program: Program, tests: int, limits: Limits) -> dict[str, Any]:
    """All of the program but its inputs."""
    isolation = program.isolation or ("test" if program.mode == "stdio" else "program")
    return {
        "source": program.source,
        "mode": program.mode,
        "entry": program.entry,
        "isolation": isolation,
        "tests": tests,
        "limits": asdict(limits) | {"wall_s": wall_s(limits)},
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
            elif isinstance(test, str):
                inputs.append(test.encode("utf-8", "surrogateescape"))
            else:
                raise TypeError(f"text expected, not {type(test).__name__}")
        except (TypeError, ValueError) as error:
            raise ProgramError(f"Program: inputs[{index}] cannot be sent: {error}.") from error
    return inputs


def decode_outcome(message: dict[str, Any], peak_memory_mb: float) -> Outcome:
    """One test's outcome, whose value may be forged in any way."""
    fields = message | {"status": Status(message["status"]), "peak_memory_mb": peak_memory_mb}
    if message["value"] is not None:
        try:
            fields["value"] = values.decode(message["value"], Opaque)
        except ValueError as error:
            fields |= {"status": Status.NO_RESULT, "value": None, "error": f"What it returned cannot be read: {error}."}
    return Outcome(**fields)


def sandbox_errors(count: int, error: Exception) -> list[Outcome]:
    """Outcomes that say nothing of the program."""
    return [Outcome(Status.SANDBOX_ERROR, error=str(error))] * count


def _arguments(test: Any) -> list[Any]:
    if not isinstance(test, Sequence) or isinstance(test, str | bytes):
        raise TypeError(f"a sequence of arguments expected, not {type(test).__name__}")
    return list(test)
