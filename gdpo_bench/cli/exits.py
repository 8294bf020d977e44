"""How command lines end: a message for the user's mistakes, a traceback only for ours."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gdpo_sandbox.errors import SandboxError

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.text import printable


def run_cli(command: Callable[[], int | None]) -> int:
    """Run a command and return the exit status to pass to `sys.exit`.

    Args:
        command: The whole command, arguments bound; returns its exit status, `None` for 0.

    Returns:
        What the command returned; 2 after a `GdpoBenchError` or `SandboxError`, whose message goes to stderr, or a
        name of a file that is too long; 130 after Ctrl-C; 141 when the reader of our output is gone (`… | head`).
    """
    try:
        status = command() or 0
        sys.stdout.flush()
    except (GdpoBenchError, SandboxError) as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The interpreter flushes stdout once more on exit and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        # Wherever it is met, it was typed: names of our own are cut.
        name = printable(os.fsdecode(error.filename or ""))
        print(f"Error: {name:.60}… is too long a name for this file system; choose a shorter one.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return status


@contextmanager
def interruptible(how_to_go_on: str) -> Iterator[None]:
    """Say after Ctrl-C how to go on; SIGTERM, which schedulers and `timeout` send, ends what runs meanwhile alike.

    Args:
        how_to_go_on: A sentence.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()  # elsewhere no handler can be set
    before = signal.signal(signal.SIGTERM, interrupt) if main else None
    try:
        yield
    except KeyboardInterrupt:
        print(how_to_go_on, file=sys.stderr)
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
