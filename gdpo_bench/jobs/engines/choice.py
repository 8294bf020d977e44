"""Which engine runs a job's tasks, as `--engine` names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.jobs.engines.ray_cluster import check_installed
from gdpo_bench.jobs.job import read_options


@dataclass(frozen=True)
class RayOptions:
    """What tasks ask of a Ray cluster."""

    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    """Cores of a task; it computes with one thread, whatever this says."""
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """GPUs of a task; 0.5 puts two tasks on one."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How often a task is started again whose process or node died."""
    wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60
    """Seconds that a cluster has to grow, while none of its nodes has room for a task."""


@dataclass(frozen=True)
class EngineChoice:
    """Where the tasks of a job run; it takes no part in what they compute."""

    kind: Literal["local", "ray"] = "local"
    address: str | None = None
    """Of the Ray cluster; without it Ray's own rule: `RAY_ADDRESS`, one that runs here, a new one here."""
    ray: RayOptions = RayOptions()

    def check_installed(self) -> None:
        """Make sure that what the engine needs is installed.

        Raises:
            RayEngineError: It is not.
        """
        if self.kind == "ray":
            check_installed()


def parse_engine(text: str) -> EngineChoice:
    """Read `local`, `ray`, or `ray:ADDRESS`, the latter two with options: `ray:10.0.0.1:6379:gpus=1,retries=5`.

    Raises:
        UnknownNameError: No such engine, or no such option.
        JobError: A value that the option cannot have, or Ray Client's address.
    """
    name, options = parse_choice(text)
    kind, _, address = name.partition(":")
    if kind == "local" and not address and not options:
        return EngineChoice()
    if kind != "ray":
        raise UnknownNameError("engine", text, ["local", "ray", "ray:ADDRESS"])
    return EngineChoice("ray", address or None, read_options(RayOptions, "engine 'ray'", options))
