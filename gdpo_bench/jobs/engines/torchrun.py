"""One run at a time, on all processes that torchrun started.

    torchrun --nproc-per-node 2 -m gdpo_bench.run my_job.yaml

The first process is the job: it plans, prints and writes. The others follow it from task to task; a task meets
its counterparts through `agent.world`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

from gdpo_bench.core.processor import arithmetic_pins
from gdpo_bench.jobs.engines.local import answer, single_thread
from gdpo_bench.jobs.work import Event, Failed, Finished, Progressed, Report, WorkItem

if TYPE_CHECKING:
    from gdpo_bench.agent.scale.processes import World

_TOLD = ("GDPO_BENCH_DATA",)
"""Environment variables that a job may set."""
_leading = threading.Lock()
"""Held while a task runs."""


def under_torchrun() -> bool:
    """Whether torchrun started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def torchrun_words() -> list[str]:
    """The beginning of a command line that starts as many processes."""
    size, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    machines = ["--nnodes", str(size // here)] if size > here else []
    return ["torchrun", *machines, "--nproc-per-node", str(here)]


@dataclass(frozen=True)
class _Order:
    """What the others are to do."""

    task: WorkItem
    environment: Mapping[str, str]


class TorchrunEngine:
    """Runs tasks one after the other, each on all processes at once."""

    def __init__(self, world: World) -> None:
        """Lead the other processes, which `follow`.

        Args:
            world: All processes.
        """
        self._world = world

    def __enter__(self) -> TorchrunEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to do: the others follow until this process ends."""

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[Event]:
        """Run tasks in their order.

        Args:
            tasks: What to run; events name them by position.

        Yields:
            What happens, as it happens; each task ends with `Finished` or `Failed`.
        """
        for number, task in enumerate(tasks):
            events: SimpleQueue[tuple[str, Any]] = SimpleQueue()
            _leading.acquire()
            # In a thread of its own, so that what it reports is shown meanwhile, and Ctrl-C is heard.
            threading.Thread(target=self._lead, args=(task, events), daemon=True).start()
            while (event := events.get())[0] == "progress":
                yield Progressed(number, *event[1])
            kind, content = event
            yield Finished(number, content) if kind == "result" else Failed(number, *content)

    def _lead(self, task: WorkItem, events: SimpleQueue[tuple[str, Any]]) -> None:
        def lead(report: Report) -> Any:
            self._world.claim_device()
            single_thread()
            environment = {name: os.environ[name] for name in _TOLD if name in os.environ}
            self._world.broadcast(lambda: _Order(task, environment))
            return self._world.barrier(lambda: task(report))

        outcome = answer(lead, lambda share, text: events.put(("progress", (share, text))))
        _leading.release()
        events.put(outcome)


def run_together(command: Callable[[], int]) -> NoReturn:
    """Run a command in the first of torchrun's processes, and its tasks in all; then end this process.

    Args:
        command: The whole command line; returns its exit status.
    """
    os.environ.update(arithmetic_pins())
    from gdpo_bench.agent.scale.processes import join_world, leave_world  # noqa: PLC0415 (imports torch, which reads the pins)

    world = join_world()
    if not world.is_first:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all; the first process says so
        warnings.simplefilter("ignore")  # it warns of the same
        _follow(world)
        leave_world(0)
    try:
        status = command()
    except SystemExit as error:  # --help, options that cannot be read, a pipe that nobody reads
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    # Ctrl-C or such amid a task, to which a thread of ours and the others are bound.
    if not _leading.locked():
        _dismiss(world)
    leave_world(status)


def _follow(world: World) -> None:
    """Take part in what the first process orders, until it has no more."""
    single_thread()
    while True:
        order: _Order | None = world.broadcast(lambda: None)
        if order is None:
            return
        os.environ.update(order.environment)
        task = order.task
        answer(lambda report, task=task: world.barrier(lambda: task(report)), lambda share, text: None)  # type: ignore[misc]


def _dismiss(world: World) -> None:
    world.broadcast(lambda: None)
