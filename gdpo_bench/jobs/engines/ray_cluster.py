"""Connecting to Ray: a cluster that runs, or a small one on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.processor import arithmetic_pins, usable_cores

_OBJECT_STORE_BYTES = 128 * 2**20
"""Object store of a Ray that we start; what is larger goes to disk."""
_ANSWER_S = 20
"""How long a cluster has to answer; Ray itself tries for a quarter of an hour."""
_PASSED_ON = re.compile(r"GDPO_(BENCH|SANDBOX)_\w+|DOCKER_(HOST|TLS_VERIFY|CERT_PATH)|PYTHONHASHSEED")
_PATHS = ("GDPO_BENCH_CACHE", "GDPO_BENCH_DATA", "DOCKER_CERT_PATH")
_OURS = ("gdpo_bench", "gdpo_envs", "gdpo_sandbox", "__main__", "__mp_main__")
_NOT_SHIPPED = ["/runs/", "/.git/", "/.venv/", "/venv/", "__pycache__/"]


class RayEngineError(GdpoBenchError, RuntimeError):
    """Ray is missing, does not answer, or has no room."""


def check_installed() -> None:
    """Make sure that Ray is installed, without importing it.

    Raises:
        RayEngineError: It is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise RayEngineError("The engine 'ray' needs Ray: pip install 'gdpo-bench[ray]', or leave --engine out.")


def connect(address: str | None) -> bool:
    """Connect this process to a cluster.

    Args:
        address: `HOST:PORT`, `auto` (one that runs on this machine), `local` (a new one on this machine), or
            `None` for Ray's own rule: `RAY_ADDRESS`, then what `ray start` started here, then `local`.

    Returns:
        Whether the cluster is a new one of our own.

    Raises:
        RayEngineError: Ray is not installed, or the cluster does not answer in time.
    """
    check_installed()
    # Read when Ray is imported. What it measures of its users is theirs to give.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415 (optional)

    address = address or os.environ.get("RAY_ADDRESS") or _started_here() or "local"
    if address not in ("auto", "local"):
        _probe(address)
    settings: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        settings |= {
            "num_cpus": usable_cores(),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        ray.init(address, runtime_env=_environment(remote=address != "local"), **settings)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        what = "start Ray on this machine" if address == "local" else f"connect to Ray at {address}"
        raise RayEngineError(f"Cannot {what}: {error}") from error
    return address == "local"


def _started_here() -> str | None:
    """Address of the cluster that `ray start` started on this machine, as Ray finds it itself."""
    try:
        address = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "ray_current_cluster").read_text().strip()
        _probe(address)
        return address
    except (OSError, RayEngineError):  # none, or one that was killed, for which Ray would wait
        return None


def _probe(address: str) -> None:
    """Make sure that a cluster answers there, in bounded time."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise RayEngineError(
            f"Expected HOST:PORT, auto or local as Ray's address; got {address!r}. Start the job on a node of the "
            "cluster, or there through `ray job submit`."
        )
    unanswered = (
        f"No Ray cluster answers at {address}. `ray status --address {address}` on one of its nodes shows whether it "
        "runs; without an address (--engine ray) Ray is started on this machine."
    )
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise RayEngineError(f"{unanswered} ({error})") from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_ANSWER_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise RayEngineError(unanswered) from error


def _environment(*, remote: bool) -> dict[str, Any]:
    """Ray's `runtime_env`: what a task finds around it."""
    found: dict[str, Any] = {"env_vars": passed_on(os.environ)}
    # `ray job submit` has sent the user's code already.
    if remote and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ and has_own_code(Path.cwd(), _files_of_modules()):
        found |= {"working_dir": str(Path.cwd()), "excludes": _NOT_SHIPPED}
    return found


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of workers: pinned arithmetic, and what tasks read. Relative paths become absolute."""
    found = {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}
    return arithmetic_pins() | {
        name: os.path.abspath(value) if name in _PATHS and value else value for name, value in found.items()
    }


def has_own_code(folder: Path, files: Iterable[str]) -> bool:
    """Whether a module that is imported already comes from a folder, and not from an environment within it.

    Args:
        folder: The current one.
        files: Of the modules, ours left out.
    """
    return any(
        path.is_relative_to(folder) and not path.is_relative_to(Path(sys.prefix)) and "site-packages" not in path.parts
        for path in map(Path, files)
    )


def _files_of_modules() -> list[str]:
    return [
        os.path.abspath(file)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in _OURS and (file := getattr(module, "__file__", None))
    ]


def own_import_paths() -> tuple[str, ...]:
    """Where Python looks for modules besides its installation."""
    installed = (Path(sys.prefix), Path(sys.base_prefix))
    paths = dict.fromkeys(os.path.abspath(path or os.curdir) for path in sys.path)
    return tuple(path for path in paths if not any(Path(path).is_relative_to(root) for root in installed))


def nodes_resources() -> dict[str, dict[str, float]]:
    """Address → all that a living node has, used or not."""
    import ray  # noqa: PLC0415 (optional)

    return {
        f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})": node["Resources"]
        for node in ray.nodes()
        if node["Alive"]
    }
