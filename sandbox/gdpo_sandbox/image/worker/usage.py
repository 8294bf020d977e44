"""What the container has used: CPU time, and kills for lack of memory, by the kernel's own count for its cgroup.

The counters hold for processes that have ended too, whoever waited for them, so no program can hide its children.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def cpu_meter(cgroup: str = "/sys/fs/cgroup") -> Callable[[], float]:
    """A function that gives the CPU seconds of the container so far, without those of this process."""
    for name, seconds in (
        ("cpuacct/cpuacct.usage", lambda text: int(text) / 1e9),
        ("cpu.stat", lambda text: int(text.split()[1]) / 1e6),  # usage_usec comes first
    ):
        counter = _counter(f"{cgroup}/{name}")
        if counter is not None:
            return _less_own(counter, seconds)
    return _cpu_of_processes


def oom_meter(cgroup: str = "/sys/fs/cgroup") -> Callable[[], int]:
    """A function that gives the number of processes that the kernel has killed for lack of memory."""
    for name in ("memory/memory.oom_control", "memory.events"):
        counter = _counter(f"{cgroup}/{name}")
        if counter is not None:
            return _field(counter, b"oom_kill")
    return lambda: 0


def _counter(path: str) -> Callable[[], bytes] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    return lambda: os.pread(fd, 4096, 0)


def _less_own(counter: Callable[[], bytes], seconds: Callable[[bytes], float]) -> Callable[[], float]:
    return lambda: seconds(counter()) - time.process_time()


def _field(counter: Callable[[], bytes], name: bytes) -> Callable[[], int]:
    def read() -> int:
        words = counter().split()
        return int(words[words.index(name) + 1]) if name in words else 0

    return read


def _cpu_of_processes() -> float:
    """CPU seconds of the processes there are, and of those that they waited for; where there is no cgroup to ask."""
    ticks = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (1, os.getpid()):
            try:
                with open(f"/proc/{name}/stat") as file:
                    ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
            except (OSError, ValueError):
                pass  # it has just ended
    return ticks / os.sysconf("SC_CLK_TCK")
