"""Processes that run a module of ours, where `multiprocessing` may not go or would run the user's program again."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def start_module(
    module: str, *arguments: str | os.PathLike[str], hash_seed: int, **pipes: Any
) -> subprocess.Popen[bytes]:
    """Start `python -m module`; it finds modules where this process finds them.

    Args:
        module: Its dotted name.
        arguments: What stands behind it.
        hash_seed: By which it orders sets of texts.
        pipes: Further options of `subprocess.Popen`.
    """
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    variables = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen([sys.executable, "-m", module, *arguments], env=variables, **pipes)
