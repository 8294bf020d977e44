"""Is the sandbox in order here? The engine, the image, and every limit, tried out by a program that goes beyond it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gdpo_sandbox.building import ensure_image, image_tag
from gdpo_sandbox.engine import RUNTIME, connect, hosts_by_environment
from gdpo_sandbox.errors import SandboxError
from gdpo_sandbox.pool import SandboxPool
from gdpo_sandbox.program import Limits, Outcome, Program, Status

LIMITS = Limits(cpu_s=0.5, wall_s=2.0, memory_mb=128, processes=16, output_bytes=1 << 16, files_mb=4, open_files=32)
"""Tight, so that going beyond each takes no time."""
_UPDATE = "Update Docker; the sandbox asks the engine for this and did not get it."


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    fine: bool
    found: str
    advice: str = ""
    """What to do about it, unless it is fine."""


@dataclass(frozen=True)
class _Probe:
    """A program that goes beyond a limit, and how one sees that it was stopped."""

    name: str
    source: str
    stopped: Callable[[Outcome], bool]
    advice: str = _UPDATE


def _ends(*statuses: Status) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.status in statuses


def _prints(text: str) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.status is Status.OK and outcome.stdout.strip() == text


def _counts(most: int) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.stdout.strip().isdigit() and int(outcome.stdout) <= most


def _denied(act: str, setup: str = "import os, socket") -> str:
    return f"{setup}\ntry: {act}\nexcept OSError: print('denied')\nelse: print('allowed')"


_STATUS = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('{}:')))"
_EXECUTABLE = "import os\nopen('p', 'w').write('#!/usr/bin/python3')\nos.chmod('p', 0o755)"
_IO_SETUP = """
import ctypes, platform
number = {"x86_64": 206, "aarch64": 0}[platform.machine()]
failed = ctypes.CDLL(None).syscall(number, 1, ctypes.byref(ctypes.c_ulong())) < 0
print("denied" if failed else "allowed")
"""
_OF_THIS_MACHINE = "[name for name in os.environ if name.startswith(('DOCKER', 'GDPO', 'HF_', 'SSH'))]"
_PROBES = (
    _Probe("runs programs", "print(input()[::-1])", _prints("cba")),
    _Probe("Python", "import platform; print(platform.python_version())", _ends(Status.OK)),
    _Probe("CPU time", "while True: pass", _ends(Status.TIMEOUT)),
    _Probe("wall time", "import time; time.sleep(60)", _ends(Status.TIMEOUT)),
    _Probe("memory", "x = [bytearray(1 << 20) for _ in range(1000)]", _ends(Status.MEMORY_LIMIT)),
    _Probe(
        "memory of all processes",
        """
import os, time
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        x = bytearray(b"x") * (80 << 20)
        time.sleep(5)
        os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
""",
        _ends(Status.MEMORY_LIMIT),
        "Enable the memory controller of cgroups; `docker info` names what is missing.",
    ),
    _Probe(
        "processes",
        """
import os, time
try:
    for n in range(1000):
        if os.fork() == 0: time.sleep(5); os._exit(0)
except OSError: print(n)
""",
        _counts(LIMITS.processes),
        "Enable the pids controller of cgroups; `docker info` names what is missing.",
    ),
    _Probe("output", "while True: print('x' * 1000)", _ends(Status.OUTPUT_LIMIT, Status.SIGNAL)),
    _Probe("size of a file", "open('f', 'wb').write(b'x' * (1 << 20))", _ends(Status.OUTPUT_LIMIT, Status.SIGNAL)),
    _Probe(
        "size of all files",
        """
try:
    for n in range(1000): open(str(n), "wb").write(b"x" * 60000)
except OSError: print(60000 * n)
""",
        _counts(LIMITS.files_mb << 20),
    ),
    _Probe(
        "number of files",
        """
try:
    for n in range(100000): open(str(n), "w").close()
except OSError: print("stopped")
""",
        _prints("stopped"),
    ),
    _Probe(
        "open files",
        "x = []\ntry:\n    while True: x.append(open('/dev/null'))\nexcept OSError: print(len(x))",
        _counts(LIMITS.open_files),
    ),
    _Probe("empty working directory", "import os; print(os.listdir())", _prints("[]")),
    _Probe("read-only root", _denied("open('/x', 'w')"), _prints("denied")),
    _Probe("no executables of its own", _denied("os.execv('./p', ['p'])", _EXECUTABLE), _prints("denied")),
    _Probe("no network", _denied("socket.create_connection(('1.1.1.1', 53), 1)"), _prints("denied")),
    _Probe("no loopback", _denied("socket.create_server(('127.0.0.1', 0))"), _prints("denied")),
    _Probe("no local sockets", _denied("socket.socket(socket.AF_UNIX).bind(chr(0) + 'x')"), _prints("denied")),
    _Probe("no terminals", _denied("os.openpty()"), _prints("denied")),
    _Probe("no asynchronous I/O by the kernel", _IO_SETUP, _prints("denied")),
    _Probe("no vsock", _denied("socket.socket(socket.AF_VSOCK)"), _prints("denied")),
    _Probe("no shared memory", _denied("open('/dev/shm/x', 'w')"), _prints("denied")),
    _Probe(
        "not root",
        "import os; print(*os.getresuid(), *os.getresgid(), *os.getgroups())",
        lambda outcome: outcome.status is Status.OK and "0" not in outcome.stdout.split(),
    ),
    _Probe("no capabilities", _STATUS.format("CapEff"), _prints("0" * 16)),
    _Probe("no new privileges", _STATUS.format("NoNewPrivs"), _prints("1")),
    _Probe(
        "system call filter",
        _STATUS.format("Seccomp"),
        _prints("2"),
        "Use a kernel and an engine with seccomp; `docker info` should name it.",
    ),
    _Probe("nobody else's processes", _denied("os.kill(1, 9)"), _prints("denied")),
    _Probe("nothing of this machine's environment", f"import os; print({_OF_THIS_MACHINE})", _prints("[]")),
)

_NUMPY = _Probe("numpy", "import numpy; print(numpy.__version__)", _ends(Status.OK), "Build the image anew.")


def examine(host: str | None = None, runtime: str | None = None, numpy: bool = False) -> Iterator[Finding]:
    """Look at engine, image and limits, one after the other; stops at what the rest needs.

    Args:
        host: The engine's URL or context; by default those that a `SandboxPool` would use.
        runtime: Of the containers, such as `runsc`; by default the one that a `SandboxPool` would use.
        numpy: Look at the image with numpy.
    """
    hosts: list[str | None] = [host] if host else [*hosts_by_environment()]
    for name in hosts or [None]:
        yield from _examine(name, runtime or os.environ.get(RUNTIME), numpy)


def _examine(host: str | None, runtime: str | None, numpy: bool) -> Iterator[Finding]:
    try:
        client = connect(host)
    except SandboxError as error:
        yield Finding("engine", False, *_first_line(error))
        return
    info = client.info()
    version = f"Docker {info['ServerVersion']}, cgroup v{info.get('CgroupVersion', '1')}, {info['Architecture']}"
    rootless = ", rootless" if "name=rootless" in info.get("SecurityOptions", ()) else ""
    machine = f"{info['NCPU']} cores, runtime {runtime or info['DefaultRuntime']}{rootless}"
    yield Finding("engine", True, f"{f'{host}: ' if host else ''}{version}, {machine}")
    if runtime is not None and runtime not in info["Runtimes"]:
        known = ", ".join(info["Runtimes"])
        yield Finding(
            "runtime",
            False,
            f"{runtime} is not known to the engine; known: {known}",
            "Install it, and add it to /etc/docker/daemon.json.",
        )
        return
    try:
        image = client.images.get(ensure_image(client, numpy=numpy))
    except SandboxError as error:
        yield Finding("image", False, *_first_line(error))
        return
    yield Finding("image", True, f"{image_tag(numpy)}, {image.attrs['Size'] / 1e6:.0f} MB")
    try:
        hosts = [host] if host else ()
        with SandboxPool(slots=1, limits=LIMITS, hosts=hosts, runtime=runtime, numpy=numpy) as pool:
            for probe in (*_PROBES, _NUMPY) if numpy else _PROBES:
                (outcome,) = pool.run(Program(probe.source, ["abc\n"])).tests
                fine = probe.stopped(outcome)
                yield Finding(probe.name, fine, _shown(outcome), "" if fine else probe.advice)
    except SandboxError as error:
        yield Finding("containers", False, *_first_line(error))


def _first_line(error: SandboxError) -> tuple[str, str]:
    found, _, advice = str(error).partition("\n")
    return found, advice


def _shown(outcome: Outcome) -> str:
    said = outcome.stdout.strip()[:40] if outcome.status is Status.OK else outcome.error[:80]
    return f"{outcome.status}: {said}" if said else str(outcome.status)
