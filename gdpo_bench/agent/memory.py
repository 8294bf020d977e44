"""Smaller micro-batches where a device's memory runs out."""

from __future__ import annotations

import torch

from gdpo_bench.agent.errors import OutOfMemoryError


def smaller(micro_batch: int) -> int:
    """How many rollouts to pass at once, where so many do not fit; what the failed pass held is freed.

    Raises:
        OutOfMemoryError: It was one already.
    """
    if micro_batch == 1:
        raise OutOfMemoryError(
            "One rollout alone does not fit into memory; choose a smaller max_new_tokens, a smaller policy, or "
            "gradient_checkpointing=true for the policy."
        )
    torch.cuda.empty_cache()
    return (micro_batch + 1) // 2
