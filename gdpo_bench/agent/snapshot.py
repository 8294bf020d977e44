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

    All processes call this at the same time; the tensors are whole, and there for the first one.

    Returns:
        File → name → tensor, and the rest as JSON.
    """
    moments = {}
    for number, values in learner.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            whole = learner.weights.whole(value)
            if learner.world.is_first:  # elsewhere they would only take up memory
                moments[f"{number}.{name}"] = whole
    return {_WEIGHTS: learner.weights.named(), _MOMENTS: moments}, {"micro_batch": learner.micro_batch}


def restore_learner(learner: Learner, checkpoint: Checkpoint) -> None:
    """Take over what `snapshot_learner` gave, in all processes at the same time.

    Args:
        learner: Of the same policy.
        checkpoint: Its tensors are read in the first process only.

    Raises:
        DataError: The checkpoint is of another policy.
    """
    world, tensors = learner.world, checkpoint.tensors
    trained = learner.weights.named()
    shapes = world.first(lambda: {name: value.shape for name, value in tensors[_WEIGHTS].items()})
    if shapes != {name: value.shape for name, value in trained.items()}:
        raise DataError("The checkpoint is of another policy than this run's; delete it to start anew.")
    learner.weights.assign(lambda name: world.first(lambda: tensors[_WEIGHTS][name]))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key in world.first(lambda: list(tensors[_MOMENTS])):
        number, _, name = key.partition(".")
        value = world.first(lambda key=key: tensors[_MOMENTS][key])  # type: ignore[misc]
        state.setdefault(int(number), {})[name] = learner.weights.spread(value, int(number))
    learner.optimizer.load_state_dict(learner.optimizer.state_dict() | {"state": state})
    learner.micro_batch = checkpoint.state["micro_batch"]
