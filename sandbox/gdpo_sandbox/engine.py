"""Connects to Docker engines: the one that `docker` itself would use, or those that are named."""

from __future__ import annotations

import os

import docker
import requests
from docker.context import Context, ContextAPI
from docker.errors import DockerException

from gdpo_sandbox.errors import EngineError, SandboxError

HOSTS, RUNTIME, SLOTS = "GDPO_SANDBOX_HOSTS", "GDPO_SANDBOX_RUNTIME", "GDPO_SANDBOX_SLOTS"
"""Environment variables: hosts, separated by commas; the container runtime; the number of programs at one time."""
ENGINE_ERRORS = (DockerException, requests.RequestException, OSError)
"""What the docker SDK raises when an engine does not do what is asked."""
_TIMEOUT_S, _CONNECTIONS = 60, 64
_ADVICE = (
    "Programs run in Docker only. Start the engine (`systemctl start docker`, Docker Desktop, or "
    "`dockerd-rootless.sh`), see that you may use it (`docker info`), or name another one with DOCKER_HOST, "
    f"DOCKER_CONTEXT, or {HOSTS}=ssh://user@machine"
)


def connect(host: str | None = None) -> docker.DockerClient:
    """A client of an engine that answers.

    Args:
        host: Its URL (`unix:///run/docker.sock`, `tcp://machine:2376`, `ssh://user@machine`) or the name of a docker
            context. By default what `docker` would use: DOCKER_HOST, DOCKER_CONTEXT, or the current context.

    Raises:
        EngineError: It does not answer; says what was tried, and how to start one.
    """
    host = host or os.environ.get("DOCKER_HOST")
    name = host
    try:
        if host and "://" in host:
            client = docker.from_env(
                timeout=_TIMEOUT_S, max_pool_size=_CONNECTIONS, environment={**os.environ, "DOCKER_HOST": host}
            )
        else:
            context = _context(host or os.environ.get("DOCKER_CONTEXT"))
            name = f"{context.Host} (context {context.name!r})"
            client = docker.DockerClient(
                context.Host, tls=context.TLSConfig, timeout=_TIMEOUT_S, max_pool_size=_CONNECTIONS
            )
        client.ping()
    except ENGINE_ERRORS as error:
        hint = " `pip install 'docker[ssh]'` adds ssh." if "paramiko" in str(error) else ""
        raise EngineError(f"No Docker engine answers at {name}: {error}.{hint}\n{_ADVICE}") from error
    return client


def hosts_by_environment() -> list[str]:
    """Hosts as GDPO_SANDBOX_HOSTS has them; none where it is unset or empty."""
    return [name for name in os.environ.get(HOSTS, "").split(",") if name]


def slots_by_environment() -> int | None:
    """Programs at one time, as GDPO_SANDBOX_SLOTS has it; None where it is unset or empty.

    Raises:
        SandboxError: It is no positive whole number.
    """
    text = os.environ.get(SLOTS)
    if not text:
        return None
    try:
        slots = int(text)
    except ValueError:
        slots = 0
    if slots < 1:
        raise SandboxError(
            f"{SLOTS}, the number of programs that run at one time, must be a positive whole number; got {text!r:.80}. "
            f"Set it to {os.cpu_count() or 1}, say, as this machine has cores, or unset it."
        )
    return slots


def _context(name: str | None) -> Context:
    context = ContextAPI.get_context(name)
    if context is None:
        known = ", ".join(context.name for context in ContextAPI.contexts())
        raise EngineError(f"Unknown docker context {name!r}; known: {known}. A host has a scheme, such as ssh://…")
    return context
