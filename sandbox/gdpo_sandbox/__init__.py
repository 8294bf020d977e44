r"""Run model-written programs in Docker: many, fast, and so that they can do no harm.

    from gdpo_sandbox import Limits, Program, SandboxPool

    with SandboxPool(slots=4, limits=Limits(cpu_s=2)) as pool:
        run = pool.run(Program("print(input()[::-1])", inputs=["abc"]))
        run.tests[0].status, run.tests[0].stdout  # Status.OK, "cba\n"

What it protects against, and what not, is in docs/sandbox.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

from gdpo_sandbox.errors import EngineError, ImageError, ProgramError, SandboxError
from gdpo_sandbox.program import Limits, Mode, Opaque, Outcome, Program, ProgramRun, Status

if TYPE_CHECKING:
    from gdpo_sandbox.pool import SandboxPool

__all__ = [
    "EngineError",
    "ImageError",
    "Limits",
    "Mode",
    "Opaque",
    "Outcome",
    "Program",
    "ProgramError",
    "ProgramRun",
    "SandboxError",
    "SandboxPool",
    "Status",
]


def __getattr__(name: str) -> Any:
    """The pool, once it is asked for: with it comes the docker SDK, which takes a tenth of a second."""
    if name == "SandboxPool":
        return importlib.import_module("gdpo_sandbox.pool").SandboxPool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
