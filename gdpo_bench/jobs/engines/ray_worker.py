"""What runs on the nodes of a Ray cluster: one task in a process, and the board where tasks say how far they are.

Tasks and results travel pickled by us and not by Ray, so that one that cannot be read fails alone and
as on the local engine. A policy's folder travels as the content of its files: all runs of a job must begin
with the very same weights, which another kind of CPU would not compute again.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.jobs.engines.local import answer, defect, single_thread
from gdpo_bench.jobs.start import WarmStarted
from gdpo_bench.leaderboard.files.provenance import versions

_REPORT_EVERY_S = 1.0
"""Thousands of tasks share one board."""


@dataclass(frozen=True)
class Parcel:
    """A policy's folder on its way between machines."""

    files: dict[str, bytes]
    """Name → content."""
    policy: WarmStarted
    """Where it lay, and what it was before."""

    @classmethod
    def of(cls, policy: WarmStarted) -> Parcel:
        """Read the folder."""
        files = {path.name: path.read_bytes() for path in sorted(policy.folder.iterdir())}
        return cls(files, policy)

    def unpack(self) -> WarmStarted:
        """The policy in this machine's cache, in a folder named after its content."""
        digest = sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name} {len(content)} ".encode())
            digest.update(content)
        root = Path(os.environ.get("GDPO_BENCH_CACHE") or user_cache_path("gdpo-bench")) / "policies"
        folder = root / digest.hexdigest()[:32]
        if not folder.exists():
            root.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=root))
            try:
                for name, content in self.files.items():
                    (part / name).write_bytes(content)
                part.rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another process was first, with the same content
                    raise
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return replace(self.policy, folder=folder)


class _Pickler(pickle.Pickler):
    """Leaves policies out of what it pickles, and collects them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.policies: list[WarmStarted] = []

    def persistent_id(self, item: Any) -> int | None:
        if not isinstance(item, WarmStarted):
            return None
        if item not in self.policies:
            self.policies.append(item)
        return self.policies.index(item)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, policies: list[WarmStarted]) -> None:
        super().__init__(file)
        self._policies = policies

    def persistent_load(self, number: int) -> WarmStarted:
        return self._policies[number]


def dumps(item: Any) -> tuple[bytes, list[WarmStarted]]:
    """Pickle a task or a result, without the policies in it."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(item)
    return file.getvalue(), pickler.policies


def loads(payload: bytes, policies: list[WarmStarted]) -> Any:
    """The task or result of which `dumps` made this, with policies that lie here."""
    return _Unpickler(io.BytesIO(payload), policies).load()


@dataclass(frozen=True)
class Order:
    """What a node is asked to do."""

    number: int
    attempt: int
    payload: bytes
    """The task."""
    import_paths: tuple[str, ...]
    """Where the job's process finds the user's own modules; on other machines they need not exist."""
    versions: dict[str, str]
    """Versions of the packages that results depend on, in the job's process."""
    board: Any
    """Handle of the `ProgressBoard`."""


@dataclass(frozen=True)
class Answer:
    """What became of it."""

    kind: str
    """`result` or `error`."""
    content: Any
    """The pickled result; or what `Failed` takes."""
    parcels: tuple[Parcel, ...] = ()
    """The policies in the result."""


class ProgressBoard:
    """Where each task's latest report stands until it is taken. It lives on the node of the job's process."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], tuple[float, str]] = {}

    def put(self, number: int, attempt: int, share: float, text: str) -> None:
        """Replace a task's report."""
        self._latest[number, attempt] = share, text

    def take(self) -> dict[tuple[int, int], tuple[float, str]]:
        """(Number of the task, attempt) → (share, text), of those that reported since the last call."""
        latest, self._latest = self._latest, {}
        return latest


def perform(order: Order, *parcels: Parcel) -> Answer:
    """Do a task in this process.

    Args:
        order: The task, pickled.
        parcels: The policies in it.

    Returns:
        Its result or how it failed; nothing that a task does raises here.
    """
    sys.path[:0] = [path for path in order.import_paths if path not in sys.path]
    last = (float("-inf"), None)

    def report(share: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if share >= 1 or now - last[0] >= _REPORT_EVERY_S:
            last = (now, order.board.put.remote(order.number, order.attempt, share, text))

    def task(report: Callable[[float, str], None]) -> Any:
        _check_versions(order.versions)
        single_thread()
        return loads(order.payload, [parcel.unpack() for parcel in parcels])(report)

    kind, content = answer(task, report)
    if last[1] is not None:
        _wait_for(last[1])  # so that the job's process sees the last report before the result
    if kind != "result":
        return Answer(kind, content)
    try:
        payload, policies = dumps(content)
        return Answer(kind, payload, tuple(map(Parcel.of, policies)))
    except Exception:  # a result that cannot be pickled
        return Answer(*defect())


def _check_versions(expected: dict[str, str]) -> None:
    here = versions()
    differing = [name for name in expected if here.get(name) != expected[name]]
    if differing:
        raise GdpoBenchError(
            f"Node {os.uname().nodename} has other versions than the machine that started the job: "
            + ", ".join(f"{name} {here.get(name, 'missing')} instead of {expected[name]}" for name in differing)
            + ". They may change the numbers: install the same on all nodes."
        )


def _wait_for(reported: Any) -> None:
    import ray  # noqa: PLC0415 (optional)

    with suppress(ray.exceptions.RayError):  # without the report the result still counts
        ray.get(reported, timeout=10)
