"""A pool of warm containers, and how programs are spread over them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NoReturn, Self, TypeVar

import docker

from gdpo_sandbox.building import ensure_image
from gdpo_sandbox.container import Container, ContainerError
from gdpo_sandbox.engine import ENGINE_ERRORS, RUNTIME, connect, hosts_by_environment, slots_by_environment
from gdpo_sandbox.errors import EngineError, SandboxError
from gdpo_sandbox.orphans import remove_orphans
from gdpo_sandbox.program import Limits, Outcome, Program, ProgramRun
from gdpo_sandbox.protocol import encode_inputs, full_budget, sandbox_error

_log = logging.getLogger(__name__)
_STARTS = 3
"""Attempts at starting a container, before its host counts as dead."""
_ATTEMPTS = 2
"""At running a program, the second on a fresh container."""
T = TypeVar("T")
_pools: weakref.WeakSet[SandboxPool] = weakref.WeakSet()


@dataclass(eq=False)
class _Host:
    name: str
    client: docker.DockerClient
    numpy: bool
    image: str = ""
    building: threading.Lock = field(default_factory=threading.Lock)

    def start(self, limits: Limits, runtime: str | None) -> Container:
        """A new container.

        Raises:
            EngineError: After several attempts.
            ImageError: The image has to be built, and cannot.
        """
        for attempt in range(1, _STARTS + 1):
            try:
                with self.building:
                    self.image = self.image or ensure_image(self.client, _log.info, self.numpy)
                return Container(self.client, self.image, limits, runtime)
            except (EngineError, ContainerError, *ENGINE_ERRORS) as error:
                self.image = ""  # perhaps that is what is missing
                if attempt == _STARTS:
                    raise EngineError(f"{self.name} starts no container, in {_STARTS} attempts. {error}") from error
        raise AssertionError


@dataclass(eq=False)
class _Slot:
    host: _Host
    container: Container | None = None


class SandboxPool:
    """Runs programs in containers that are kept warm; any number at a time, from any thread.

    A container starts when it is first needed, and serves one program after another. One that is not provably clean
    after a program is replaced. Use the pool as a context manager, or call `close`.

    A pool belongs to the process that made it: a copy in a forked process raises SandboxError, and it cannot be
    pickled.

    Args:
        slots: Programs that run at the same time; by default GDPO_SANDBOX_SLOTS, or as many as there are cores. With
            more, programs wait for each other while their wall time passes.
        limits: What each program may use.
        hosts: Engines, as URLs or names of docker contexts, over which slots are spread evenly; by default those in
            GDPO_SANDBOX_HOSTS (separated by commas), or the one that `docker` uses. One that dies is left out.
        runtime: Of the containers, such as `runsc`; by default GDPO_SANDBOX_RUNTIME, or the engine's own default.
        numpy: Whether programs can import numpy, beside the standard library.

    Raises:
        SandboxError: GDPO_SANDBOX_SLOTS is needed, and is no positive whole number.
    """

    def __init__(
        self,
        slots: int | None = None,
        limits: Limits | None = None,
        hosts: Sequence[str] = (),
        runtime: str | None = None,
        numpy: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.slots = slots or slots_by_environment() or 0
        """Programs that can run at the same time; 0 until the pool has connected, if it was not given."""
        self.replaced = 0
        """Containers given up since the start, because they failed or were not clean."""
        self._host_names = list(hosts) or hosts_by_environment()
        self._runtime = runtime or os.environ.get(RUNTIME)
        self._numpy = numpy
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._hosts: list[_Host] = []
        self._slots: list[_Slot] = []
        self._idle: list[_Slot] = []
        self._containers: set[Container] = set()
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A SandboxPool cannot be pickled: make one in each process that needs it.")

    def run(self, program: Program) -> ProgramRun:
        """Run one program, in the calling thread's time.

        Raises:
            EngineError: No engine answers, or none starts a container.
            ImageError: The image has to be built, and cannot.
            ProgramError: An input cannot be sent.
        """
        outcomes, peaks = self._on_some_slot(program, lambda _, outcome: outcome)
        return ProgramRun(tuple(map(_with_peak, outcomes, peaks)))

    def run_each(self, program: Program, judge: Callable[[int, Outcome], T]) -> list[T]:
        """Run one program as `run` does, and keep of its outcomes only what is made of them.

        So what a program returns need not be in memory for all of its tests at one time.

        Args:
            program: The program.
            judge: Is given a test's index and outcome, as outcomes come; its peak of memory may be 0, not known yet. If
                a container dies, all tests are run and judged again.

        Returns:
            What `judge` has made of each test.

        Raises:
            EngineError: No engine answers, or none starts a container.
            ImageError: The image has to be built, and cannot.
            ProgramError: An input cannot be sent.
        """
        return self._on_some_slot(program, judge)[0]

    def run_many(self, programs: Iterable[Program]) -> list[ProgramRun]:
        """Run programs, as many at a time as there are slots; their runs in the same order. Raises like `run`."""
        return list(self._threads().map(self.run, programs))

    async def run_many_async(self, programs: Iterable[Program]) -> list[ProgramRun]:
        """As `run_many`, without holding up the event loop."""
        loop, threads = asyncio.get_running_loop(), self._threads()
        return list(await asyncio.gather(*[loop.run_in_executor(threads, self.run, program) for program in programs]))

    def close(self) -> None:
        """End all containers, also those at work; `run` in another thread then raises SandboxError."""
        with self._changed:
            self._closed = True
            for container in self._containers:
                container.close()
            self._changed.notify_all()
        if self._executor:
            self._executor.shutdown(cancel_futures=True)

    def _on_some_slot(self, program: Program, judge: Callable[[int, Outcome], T]) -> tuple[list[T], list[float]]:
        """What `judge` has made of each outcome, and the tests' peaks of memory in MiB."""
        inputs = encode_inputs(program)
        while True:
            with self._slot() as slot:
                try:
                    return self._run(program, inputs, judge, slot)
                except EngineError as error:
                    self._leave_out(slot.host, error)

    def _run(
        self, program: Program, inputs: list[bytes], judge: Callable[[int, Outcome], T], slot: _Slot
    ) -> tuple[list[T], list[float]]:
        for _ in range(_ATTEMPTS):
            try:
                return self._attempt(program, inputs, judge, slot)
            except ContainerError as error:
                failure = error
        return [judge(index, sandbox_error(failure)) for index in range(len(inputs))], [0.0] * len(inputs)

    def _attempt(
        self, program: Program, inputs: list[bytes], judge: Callable[[int, Outcome], T], slot: _Slot
    ) -> tuple[list[T], list[float]]:
        judged: list[T] = []
        peaks: list[float] = []
        budget = full_budget(self.limits)

        def take(outcome: Outcome) -> None:
            judged.append(judge(len(judged), outcome))

        while len(peaks) < len(inputs):
            container = slot.container or self._start(slot)
            try:
                ending = container.run(program, inputs[len(peaks) :], budget, take)
            except BaseException as error:  # also an interrupt, in the middle of the exchange
                self._give_up(slot)
                if isinstance(error, ContainerError):
                    container.destroy()
                raise
            peaks += ending.peaks_mb
            budget = ending.budget
            if not ending.clean:
                self._give_up(slot)
        return judged, peaks

    def _start(self, slot: _Slot) -> Container:
        container = slot.host.start(self.limits, self._runtime)
        with self._changed:
            slot.container = container
            self._containers.add(container)
            if self._closed:
                self._give_up(slot)
            self._check()
        return container

    def _give_up(self, slot: _Slot) -> None:
        with self._changed:
            if slot.container:
                slot.container.close()
                self._containers.discard(slot.container)
                slot.container = None
                self.replaced += 1

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        """A slot for oneself, with a warm container where there is one."""
        self._open()
        with self._changed:
            while not self._idle:
                self._changed.wait()
                self._check()
            slot = self._idle.pop()
        try:
            yield slot
        finally:
            with self._changed:
                if slot in self._slots:
                    self._idle.insert(len(self._idle) if slot.container else 0, slot)
                self._changed.notify()

    def _threads(self) -> ThreadPoolExecutor:
        self._open()
        with self._changed:
            self._executor = self._executor or ThreadPoolExecutor(self.slots, thread_name_prefix="sandbox")
            return self._executor

    def _check(self) -> None:
        if self._process != os.getpid():
            raise SandboxError("This SandboxPool belongs to another process: make one in each process that needs it.")
        if self._closed:
            raise SandboxError("This SandboxPool is closed.")

    def _open(self) -> None:
        """Connect to the hosts, once."""
        self._check()  # before the lock, which a forked copy may find taken for ever
        with self._changed:
            if self._hosts:
                return
            errors = []
            names: list[str | None] = [*self._host_names] or [None]
            for name in names:
                try:
                    client = connect(name)
                    try:
                        remove_orphans(client)
                    except ENGINE_ERRORS as error:  # they are in nobody's way
                        _log.warning("Sandbox: containers that were left cannot be removed: %s", error)
                    self._hosts.append(_Host(name or "The engine", client, self._numpy))
                except EngineError as error:
                    errors.append(error)
            if not self._hosts:
                raise EngineError("\n".join(map(str, errors)))
            for failure in errors:
                warnings.warn(f"Sandbox: going on without a host. {failure}", stacklevel=4)
            self.slots = self.slots or self._cores()
            hosts = itertools.cycle(self._hosts)
            self._slots = [_Slot(next(hosts)) for _ in range(self.slots)]
            self._idle = list(self._slots)
            _pools.add(self)

    def _cores(self) -> int:
        cores = sum(host.client.info()["NCPU"] for host in self._hosts)
        if not self._host_names and hasattr(os, "sched_getaffinity"):
            cores = min(cores, len(os.sched_getaffinity(0)))  # this process may have been given fewer
        return int(cores)

    def _leave_out(self, host: _Host, error: EngineError) -> None:
        """Go on without a host.

        Raises:
            EngineError: It is the only one.
        """
        with self._changed:
            if host not in self._hosts:
                return  # another thread noticed it first
            if self._hosts == [host]:
                raise error
            self._hosts.remove(host)
            self._slots = [slot for slot in self._slots if slot.host is not host]
            self._idle = [slot for slot in self._idle if slot.host is not host]
            if not self._slots:  # there were fewer slots than hosts
                self._slots = [_Slot(self._hosts[0])]
                self._idle = list(self._slots)
            self._changed.notify_all()
        warnings.warn(f"Sandbox: going on without {host.name}: {error}", stacklevel=4)


def _with_peak(outcome: Outcome, peak_mb: float) -> Outcome:
    # Most come with it. What is done here is done with the interpreter's lock held, for which other slots wait.
    return outcome if outcome.peak_memory_mb == peak_mb else replace(outcome, peak_memory_mb=peak_mb)


def _release_in_fork() -> None:
    """A forked copy must not keep containers alive beyond the process that they belong to."""
    for pool in _pools:
        for container in pool._containers:
            container.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_fork)
