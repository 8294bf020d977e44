"""Run model-written programs in Docker: many, fast, and so that they can do no harm.

    from gdpo_sandbox import Limits, Program, SandboxPool

    with SandboxPool(slots=4, limits=Limits(cpu_s=2)) as pool:
        run = pool.run(Program("print(input()[::-1])", inputs=["abc"]))
        run.tests[0].status, run.tests[0].stdout  # Status.OK, "cba\\n"

What it protects against, and what not, is in docs/sandbox.md.
"""

from gdpo_sandbox.errors import EngineError, ImageError, ProgramError, SandboxError
from gdpo_sandbox.program import Limits, Mode, Opaque, Outcome, Program, ProgramRun, Status

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
    "Status",
]
