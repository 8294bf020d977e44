"""Tasks on the cores of this machine: one single-threaded process a core.

Two threads a process are many times slower than one when all cores are busy, and sums in another
order would change the numbers from run to run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.processor import arithmetic_pins, usable_cores
from gdpo_bench.jobs.work import Event, Failed, Finished, Progressed, Report, WorkItem


class LocalEngine:
    """Runs tasks on worker processes, which live until the engine is closed."""

    def __init__(
        self, workers: int | None = None, gpus: Sequence[str] = (), pins: Mapping[str, str] | None = None
    ) -> None:
        """Start the workers.

        Args:
            workers: How many; one for each core that this process may use by default.
            gpus: As CUDA_VISIBLE_DEVICES names them; each worker sees one.
            pins: Environment variables that decide the arithmetic; `arithmetic_pins()` by default.
        """
        context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[Any, Connection]] = []
        self._busy: dict[Connection, tuple[Any, int]] = {}
        """Connection → process and number of its task."""
        # Read when a worker imports torch, long before we could call torch.set_num_threads.
        variables = arithmetic_pins() if pins is None else pins
        with _no_interrupts():
            for number in range(workers or usable_cores()):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs,), daemon=True)
                gpu = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
                with _environment(**variables, **gpu):
                    process.start()
                theirs.close()
                self._workers.append((process, ours))

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers; those that are busy are stopped."""
        for _, connection in self._workers:
            connection.close()  # an idle worker takes this as the end
        for process, _ in self._workers:
            process.join(timeout=0 if self._busy else 5)
            process.terminate()
            process.join()
        self._workers = []

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[Event]:
        """Run tasks in their order, as workers become free.

        Args:
            tasks: What to run; events name them by position.

        Yields:
            What happens, as it happens; each task ends with `Finished` or `Failed`.

        Raises:
            GdpoBenchError: All workers have died.
        """
        waiting = list(enumerate(tasks))[::-1]
        idle = list(self._workers)
        busy = self._busy
        while waiting or busy:
            while waiting and idle:
                process, connection = idle.pop()
                number, task = waiting[-1]
                try:
                    connection.send(task)
                except OSError:  # it died while it had nothing to do
                    self._workers.remove((process, connection))
                    continue
                waiting.pop()
                busy[connection] = (process, number)
            if not busy:
                raise GdpoBenchError(
                    f"All worker processes have died with {len(waiting)} tasks to go; is the machine out of memory? "
                    "What is finished is kept: start again with --resume."
                )
            for connection in (ready for ready in wait(list(busy)) if isinstance(ready, Connection)):
                process, number = busy[connection]
                try:
                    kind, content = connection.recv()
                except (EOFError, ConnectionResetError):
                    process.join()
                    del busy[connection]
                    self._workers.remove((process, connection))
                    cause = f"its process died with exit code {process.exitcode} (killed, or out of memory?)"
                    yield Failed(number, cause, expected=True)
                    continue
                if kind == "progress":
                    yield Progressed(number, *content)
                    continue
                del busy[connection]
                idle.append((process, connection))
                yield Finished(number, content) if kind == "result" else Failed(number, *content)


def _serve(connection: Connection) -> None:
    """Work off tasks until the other end closes, which also happens when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides

    def report(share: float, text: str) -> None:
        try:
            connection.send(("progress", (share, text)))
        except OSError:
            os._exit(1)  # the parent is gone

    single_thread()
    warnings.filterwarnings("ignore", "split_by_content dropped")  # as the parent has said, which lists the tasks too
    while True:
        try:
            task: Callable[[Report], Any] = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        except Exception:  # a task that cannot be unpickled here
            outcome = defect()
        else:
            outcome = answer(task, report)
        try:
            connection.send(outcome)
        except OSError:
            return
        except Exception:  # a result that cannot be pickled
            connection.send(defect())


def answer(task: Callable[[Report], Any], report: Report) -> tuple[str, Any]:
    """Do a task; returns `("result", it)`, or `("error", …)` with what `Failed` takes beside the number."""
    try:
        return "result", task(report)
    except GdpoBenchError as error:
        return "error", (str(error), True)
    except Exception:
        return defect()


def defect() -> tuple[str, Any]:
    """The exception that is being handled, as an answer."""
    return "error", (traceback.format_exc(), False)


def single_thread() -> None:
    """Let torch compute with one thread in this process."""
    import torch  # noqa: PLC0415 (only workers need it)

    torch.set_num_threads(1)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Child processes that start meanwhile never see Ctrl-C, not even before they could ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the child processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
