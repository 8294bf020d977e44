"""A learner's state as tensors and JSON, and back."""

from __future__ import annotations

from typing import Any

import torch

from gdpo_bench.agent.checkpoint import Checkpoint
from gdpo_bench.agent.learner import Learner
from gdpo_bench.core import DataError

_WEIGHTS, _MOMENTS = "weights.safetensors", "optimizer.safetensors"


def snapshot_learner(learner: Learner) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """What a learner needs to go on.

    Returns:
        File → name → tensor, and the rest as JSON.
    """
    moments = {
        f"{number}.{name}": value
        for number, values in learner.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    return {_WEIGHTS: _trained(learner), _MOMENTS: moments}, {"micro_batch": learner.micro_batch}


@torch.no_grad()
def restore_learner(learner: Learner, checkpoint: Checkpoint) -> None:
    """Take over what `snapshot_learner` gave.

    Raises:
        DataError: The checkpoint is of another policy.
    """
    weights, trained = checkpoint.tensors[_WEIGHTS], _trained(learner)
    if {name: value.shape for name, value in weights.items()} != {n: value.shape for n, value in trained.items()}:
        raise DataError("The checkpoint is of another policy than this run's; delete it to start anew.")
    for name, value in trained.items():
        value.copy_(weights[name])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in checkpoint.tensors[_MOMENTS].items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    learner.optimizer.load_state_dict(learner.optimizer.state_dict() | {"state": state})
    learner.micro_batch = checkpoint.state["micro_batch"]


def _trained(learner: Learner) -> dict[str, torch.Tensor]:
    """The weights that change, by name, each once where two names share one."""
    return {name: value.data for name, value in learner.policy.model.named_parameters() if value.requires_grad}
