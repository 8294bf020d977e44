"""TRL 1.16: the advantages of `GRPOTrainer`.

TRL computes them in the middle of `GRPOTrainer._generate_and_score_completions`. That method is
called as it is shipped, on a stand-in for the trainer that answers what comes before: no model is
run, one token is "generated" for each completion, and `_calculate_rewards` returns our rewards.

TRL makes float32 tensors of rewards and needs groups of one size, side by side; rollouts are
sorted for it here. A reward function that returns None is NaN in its matrix.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from gdpo_bench.conformance.peers.arguments import even_groups, nan_where_absent


def gdpo(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`multi_objective_aggregation="normalize_then_sum"`."""
    return _advantages(rewards, groups, weights, applicable, aggregation="normalize_then_sum", scale="group")


def grpo(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`multi_objective_aggregation="sum_then_normalize"`, the default."""
    return _advantages(rewards, groups, weights, applicable, aggregation="sum_then_normalize", scale="group")


def grpo_no_std(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`scale_rewards="none"`."""
    return _advantages(rewards, groups, weights, applicable, aggregation="sum_then_normalize", scale="none")


def grpo_batch_std(rewards: Tensor, groups: Tensor, weights: Tensor, applicable: Tensor | None) -> Tensor:
    """`scale_rewards="batch"`."""
    return _advantages(rewards, groups, weights, applicable, aggregation="sum_then_normalize", scale="batch")


def _advantages(
    rewards: Tensor,
    groups: Tensor,
    weights: Tensor,
    applicable: Tensor | None,
    *,
    aggregation: str,
    scale: str,
) -> Tensor:
    order, size = even_groups("TRL", groups)
    matrix = nan_where_absent(rewards, applicable)[order]
    trainer = _stand_in(matrix, torch.as_tensor(weights, dtype=torch.float32), size, aggregation, scale)
    output = GRPOTrainer._generate_and_score_completions(trainer, [{"prompt": "?"}] * len(groups))
    advantages = torch.empty_like(output["advantages"])
    advantages[order] = output["advantages"]
    return advantages


def _stand_in(rewards: Tensor, weights: Tensor, group_size: int, aggregation: str, scale: str) -> Any:
    """What the method reads of a trainer before and after it computes advantages."""
    n, k = rewards.shape
    one_token = [[1]] * n
    generated: tuple[Any, ...] = (one_token, one_token, None, ["!"] * n, None, {}, None, None)
    accelerator = SimpleNamespace(device=torch.device("cpu"), process_index=0, gather=lambda value: value)
    names = [f"reward_{i}" for i in range(k)]
    return SimpleNamespace(
        # what the advantages depend on
        num_generations=group_size,
        num_generations_eval=group_size,
        reward_weights=weights,
        reward_funcs=names,
        reward_func_names=names,
        multi_objective_aggregation=aggregation,
        scale_rewards=scale,
        _calculate_rewards=lambda *_: rewards,
        # generation and its surroundings, switched off
        _generate=lambda prompts: generated,
        accelerator=accelerator,
        args=SimpleNamespace(
            per_device_train_batch_size=n,
            steps_per_generation=1,
            gradient_accumulation_steps=1,
            gradient_checkpointing_kwargs=None,
        ),
        model=SimpleNamespace(training=True, is_gradient_checkpointing=False),
        _tokenizer=SimpleNamespace(pad_token_id=0),
        num_iterations=1,
        beta=0.0,
        **dict.fromkeys(_ABSENT, None),
        **dict.fromkeys(_OFF, False),
        # logging
        _metrics=defaultdict(lambda: defaultdict(list)),
        _logs=defaultdict(_Sink),
        _pending_extra_logs={},
        _pending_metrics={},
    )


_ABSENT = ("pad_to_multiple_of", "environment_factories", "environments", "tools")
_OFF = ("mask_truncated_completions", "use_vllm", "vllm_importance_sampling_correction", "log_multimodal")
"""What the method asks a trainer for that has nothing to do with advantages."""


class _Sink(defaultdict[str, list[Any]]):
    """A log that can be extended, and that has logs by name."""

    def __init__(self) -> None:
        super().__init__(list)

    def extend(self, values: Any) -> None:
        """Forget the values."""
