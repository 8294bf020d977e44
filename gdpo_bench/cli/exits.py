"""How command lines end: a message for the user's mistakes, a traceback only for ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from gdpo_sandbox.errors import SandboxError

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.text import printable


def run_cli(command: Callable[[], int | None]) -> int:
    """Run a command and return the exit status to pass to `sys.exit`.

    Args:
        command: The whole command, arguments bound; returns its exit status, `None` for 0.

    Returns:
        What the command returned; 2 after a `GdpoBenchError` or `SandboxError`, whose message goes to stderr;
        130 after Ctrl-C; 141 when the reader of our output is gone (`… | head`).
    """
    try:
        status = command() or 0
        sys.stdout.flush()
    except (GdpoBenchError, SandboxError) as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The interpreter flushes stdout once more on exit and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status
