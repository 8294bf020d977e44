"""Starts the worker: `python3 /opt/sandbox/worker`."""

import importlib
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # so that this folder is the package `worker`
importlib.import_module("worker.zygote").main()
