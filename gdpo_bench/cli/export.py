"""`gdpo-bench export`: an environment of ours, written for another library."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from gdpo_bench.core.registry import parse_id
from gdpo_bench.integrations.openenv.writing import write_server
from gdpo_bench.integrations.verifiers.writing import write_taskset

_NEXT = {
    "verifiers": "pip install {folder}, and verifiers knows the taskset {name}.",
    "openenv": "python -m server.app --port 8000 in {folder} serves it.",
}


def export(
    id: tyro.conf.Positional[str], folder: tyro.conf.Positional[Path], /, *, to: Literal["verifiers", "openenv"]
) -> None:
    """Write an environment for verifiers or for OpenEnv.

    Args:
        id: The environment, with options: gdpo/ToolCallingMini-v1:format_rate=0.04.
        folder: A new folder.
        to: A module for verifiers, or a server of OpenEnv.
    """
    env_id, options = parse_id(id)
    written = (write_taskset if to == "verifiers" else write_server)(env_id, folder, **options)
    for path in written:
        print(path)
    print(_NEXT[to].format(folder=folder, name=written[0].stem))
