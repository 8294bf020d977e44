"""Containers whose client is gone, and how they are known: each names the process that made it.

A running container ends with its client. But one that was killed between making a container and starting it leaves it
behind, and nothing else would ever remove that.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import psutil
from docker.errors import APIError

OWNER_LABEL = "gdpo-bench.owner"
"""Names the process that a container belongs to, as `owner` does."""
_STARTED_WITHIN_S = 3600.0
"""Of being made, if ever: a client does that within a minute. So containers are found whose machine is gone."""
_VANISHED = (404, 409)
"""What the engine says of a container that ends by itself or that somebody else removes."""


def owner(pid: int | None = None) -> str:
    """A name that no two processes share: machine and boot, space of process ids, process id, and when it started.

    Args:
        pid: Of a process that this one can see; by default this one.

    Raises:
        ProcessLookupError: It has ended.
    """
    pid = os.getpid() if pid is None else pid
    return f"{_origin()}|{pid}|{_start_of(pid)}"


def is_gone(name: str) -> bool:
    """Whether the process of a name has certainly ended; False as well where one cannot tell from here."""
    origin, _, process = name.partition("|")
    pid, _, start = process.partition("|")
    if origin != _origin() or not pid.isdigit():
        return False
    try:
        return _start_of(int(pid)) != start
    except ProcessLookupError:
        return True
    except OSError:
        return False


def remove_orphans(client: docker.DockerClient) -> int:
    """Remove containers that processes of this machine have left, and any that never started; how many.

    Containers of processes that live are never touched, nor those that run for another machine.

    Raises:
        DockerException: The engine does not answer.
    """
    containers = owned(client)
    orphans = [container for container in containers if is_gone(container["Labels"][OWNER_LABEL])]
    waiting = [container for container in containers if container["State"] == "created"]
    if waiting:
        now = datetime.fromisoformat(client.info()["SystemTime"]).timestamp()
        orphans += [container for container in waiting if now - container["Created"] > _STARTED_WITHIN_S]
    return sum(_remove(client, identifier) for identifier in {container["Id"] for container in orphans})


def owned(client: docker.DockerClient) -> list[dict[str, Any]]:
    """All containers of sandboxes, as the engine lists them."""
    containers: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    return containers


def _remove(client: docker.DockerClient, identifier: str) -> bool:
    try:
        client.api.remove_container(identifier, force=True)
    except APIError as error:
        if error.status_code not in _VANISHED:
            raise
        return False
    return True


def _origin() -> str:
    """What process ids are unique within, until the next boot."""
    if sys.platform == "linux":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()}/{uuid.getnode()}"


def _start_of(pid: int) -> str:
    """When a process started.

    Raises:
        ProcessLookupError: It has ended.
        OSError: It is hidden from this process.
    """
    if sys.platform == "linux":  # psutil's time moves with the clock
        with contextlib.suppress(PermissionError):
            os.kill(pid, 0)
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state in "ZX":
            raise ProcessLookupError(f"process {pid} has ended")
        return fields[18]
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(f"process {pid} has ended") from error
    except psutil.Error as error:
        raise OSError(f"process {pid} cannot be looked at") from error
