"""One warm container: made so that it can do nothing, and fed with programs over the engine's attach stream.

It lives as long as that stream. When this process goes away, even by `kill -9`, the engine closes the container's
standard input, at which its dispatcher ends whatever runs, and the engine removes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import docker
from docker.types import LogConfig, Ulimit

from gdpo_sandbox.engine import ENGINE_ERRORS
from gdpo_sandbox.errors import EngineError
from gdpo_sandbox.image.worker.budget import Budget
from gdpo_sandbox.image.worker.frames import ClosedError, FrameReader, pack, pack_json, unpack_json
from gdpo_sandbox.orphans import OWNER_LABEL, owner
from gdpo_sandbox.program import Limits, Outcome, Program
from gdpo_sandbox.protocol import decode_outcomes, encode_program, wall_s
from gdpo_sandbox.stream import AttachStream

_WORKER_MB, _WORKER_PROCESSES = 64, 2
"""Of zygote and dispatcher, beside the program's."""
_COPIES = 8
"""Of the output, in the dispatcher: in the files behind the streams, as it is read, and as a message."""
_FILES = 2048
_START_WITHIN_S = 60.0
_GRACE_S = 60.0
"""Beyond what a test may take before a container counts as wedged; the machine may be busy."""
_IN_FLIGHT_BYTES = 1 << 15
"""Of inputs sent ahead. Pipes on the way hold more than that, so sending them waits for nobody."""


class ContainerError(Exception):
    """A container that does not do as it should: gone, wedged, or saying what it should not."""


@dataclass(frozen=True)
class Ending:
    """How a container's work on a program ended."""

    peaks_mb: list[float]
    """Of memory, one a test."""
    clean: bool
    """Whether the container can be used again."""
    budget: Budget
    """What the program has left, for tests that are to run in another one."""


class Container:
    """A running container, for one program at a time.

    Args:
        client: Of the engine.
        image: Its tag.
        limits: What programs may use.
        runtime: What runs it, such as `runsc`; by default the engine's own default.

    Raises:
        EngineError: The engine does not start it.
        ContainerError: It starts, but does not answer.
    """

    def __init__(self, client: docker.DockerClient, image: str, limits: Limits, runtime: str | None = None) -> None:
        self._limits = limits
        try:
            self._container = client.containers.create(image, runtime=runtime, **_hardening(limits))
        except ENGINE_ERRORS as error:
            raise EngineError(f"The engine makes no container of {image}: {error}") from error
        try:
            parts = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            self._stream = AttachStream(client.api.attach_socket(str(self._container.id), parts))
            self._container.start()
            self._stream.set_timeout(_START_WITHIN_S)
            self._frames = FrameReader(self._stream.read, max_bytes=(1 << 26) + 32 * limits.output_bytes)
            self._receive()
            self._stream.set_timeout(3 * wall_s(limits) + _GRACE_S)
        except BaseException as error:
            self._remove()  # one that has not started would stay
            if isinstance(error, ENGINE_ERRORS):
                raise EngineError(f"The engine starts no container of {image}: {error}") from error
            raise

    def run(self, program: Program, inputs: Sequence[bytes], budget: Budget, take: Callable[[Outcome], None]) -> Ending:
        """Run a program, and say how that ended.

        Where the container cannot be used again, there may be fewer outcomes than inputs, but at least one.

        Args:
            program: Its own inputs are not looked at.
            inputs: Of the tests to run, encoded.
            budget: Of the program, for all of its tests.
            take: Called with each outcome as it comes, so that no more than a few are in memory. The peaks of those
                that do not come at the end are not known yet.

        Raises:
            ContainerError: There is no telling what became of the program.
        """
        to_send = pack_json(encode_program(program, len(inputs), self._limits, budget))
        taken = sent = in_flight = 0
        while True:
            while sent < len(inputs) and (sent == taken or in_flight + len(inputs[sent]) <= _IN_FLIGHT_BYTES):
                to_send += pack(inputs[sent])
                in_flight += len(inputs[sent])
                sent += 1
            self._send(to_send)
            to_send = b""
            message, blobs = self._receive()
            for outcome in decode_outcomes(message, blobs):
                take(outcome)
                in_flight -= len(inputs[taken])
                taken += 1
            if "clean" in message:
                return Ending(message["peaks"], message["clean"], Budget(**message["budget"]))

    def close(self) -> None:
        """End it, whatever it is doing; the engine then removes it."""
        self._stream.close()

    def destroy(self) -> None:
        """End it even if it does not listen."""
        self.close()
        self._remove()

    def release(self) -> None:
        """In a forked copy of this process: have no part in it any more."""
        self._stream.release()

    def _remove(self) -> None:
        with contextlib.suppress(*ENGINE_ERRORS):
            self._container.remove(force=True)

    def _send(self, data: bytes) -> None:
        if data:
            try:
                self._stream.write(data)
            except OSError as error:
                raise ContainerError(f"The container does not read ({error}). {self._stream.last_words}") from error

    def _receive(self) -> tuple[dict[str, Any], memoryview]:
        try:
            return unpack_json(self._frames.next())
        except (OSError, ClosedError, ValueError) as error:
            raise ContainerError(f"The container does not answer ({error}). {self._stream.last_words}") from error


def _hardening(limits: Limits) -> dict[str, Any]:
    """Arguments for a container that has no rights, no network, and nothing to keep anything in.

    The user inside is root without its powers: PID 1 keeps those to become another user, the dispatcher the one to
    kill, programs none. Docker's own filter of system calls applies, and the worker's on top of it.
    """
    files_mb = min(limits.files_mb, limits.memory_mb)  # or they could take what is the worker's
    memory = f"{limits.memory_mb + _WORKER_MB + _COPIES * limits.output_bytes // (1 << 20)}m"
    return {
        "user": "0:0",
        "cap_drop": ["ALL"],
        "cap_add": ["SETUID", "SETGID", "KILL"],
        "security_opt": ["no-new-privileges"],
        "network_mode": "none",
        "ipc_mode": "none",
        "sysctls": {
            "kernel.shmmni": "0",
            "kernel.msgmni": "0",
            "kernel.sem": "0 0 0 0",
            "fs.mqueue.queues_max": "0",
        },
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,nosuid,nodev,noexec,size={files_mb}m,nr_inodes={_FILES},mode=0777"},
        "working_dir": "/tmp",
        "hostname": "sandbox",
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": limits.processes + _WORKER_PROCESSES,
        "nano_cpus": 10**9,
        "ulimits": [
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(name="nofile", soft=limits.open_files + 64, hard=limits.open_files + 64),
        ],
        "labels": {OWNER_LABEL: owner()},
        "environment": {
            "MALLOC_ARENA_MAX": "1",  # else each thread reserves 64 MB of addresses
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),  # else libraries start one a core
        },
        "log_config": LogConfig(type="none"),
        "stdin_open": True,  # once: it is closed when this end goes away
        "auto_remove": True,
        "init": False,
    }
