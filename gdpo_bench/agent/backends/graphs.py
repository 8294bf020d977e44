"""CUDA graphs: what a function launches on a GPU, recorded once and replayed by one launch.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. This file has not run on a card yet; what
it is used by is tested on a CPU, with a call of the function in place of the record.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Step = Callable[[], None]
_REHEARSALS = 3
"""Libraries set themselves up in the first calls, which a record may not hold."""


class RecordingError(RuntimeError):
    """A function that cannot be recorded, since it waits for the GPU or asks it for a value."""


class Recorder:
    """Records functions that are never replayed at the same time, and so share their working memory."""

    def __init__(self) -> None:
        """Set the memory apart."""
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step, rehearse: Step) -> Step:
        """Record a function.

        Args:
            step: Changes tensors in place, whose memory stays theirs.
            rehearse: Does the same and takes it back.

        Returns:
            What replays it.

        Raises:
            RecordingError: It cannot be recorded.
            torch.OutOfMemoryError: Its working memory does not fit.
        """
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(_REHEARSALS):
                rehearse()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            # The outer context puts the stream back where a record that failed leaves its own behind.
            with torch.cuda.stream(here), torch.cuda.graph(graph, self._pool, capture_error_mode="thread_local"):
                step()
        except RuntimeError as error:
            cause = error.__context__ or error  # a failed step makes the end of the record fail, too
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            raise RecordingError(str(cause).partition("\n")[0]) from error
        return graph.replay


def total_memory(device: torch.device) -> int:
    """Bytes of a card's memory."""
    return int(torch.cuda.get_device_properties(device).total_memory)
