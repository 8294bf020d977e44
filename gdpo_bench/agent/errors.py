"""Errors of the agent that more than one of its parts can raise."""

from __future__ import annotations

from gdpo_bench.core import GdpoBenchError


class OutOfMemoryError(GdpoBenchError, RuntimeError):
    """The smallest piece of work does not fit into the device's memory."""
