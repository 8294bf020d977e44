"""Errors of the agent that more than one of its parts can raise."""

from __future__ import annotations

from pydantic import JsonValue

from gdpo_bench.core import GdpoBenchError


class OutOfMemoryError(GdpoBenchError, RuntimeError):
    """The smallest piece of work does not fit into the device's memory."""


class ContextError(GdpoBenchError, ValueError):
    """A prompt that leaves no room for a reply."""


class ScorerFailuresError(GdpoBenchError, RuntimeError):
    """Reward functions failed on more rollouts than is tolerated."""


class DivergedError(GdpoBenchError, RuntimeError):
    """The loss is no longer a number."""

    def __init__(self, loss: float, step: int, batch: list[dict[str, JsonValue]]) -> None:
        """Compose the message.

        Args:
            loss: What it became.
            step: In which training step.
            batch: The rollouts that it was taken over, as JSON.
        """
        super().__init__(f"The loss became {loss} at step {step}; try a smaller learning_rate.")
        self.batch = batch
