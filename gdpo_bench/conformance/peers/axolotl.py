"""Axolotl 0.19: the advantages of its asynchronous GRPO trainer, which scores groups as they stream in.

They are computed in `AsyncGRPOTrainer._compute_streaming_group_scores`. That method is called as it
is shipped, on a stand-in for the trainer: no model is run, and the reward workers return our rewards.

Axolotl makes float32 tensors of rewards and needs groups of one size, side by side; rollouts are
sorted for it here. A reward function that returns None is NaN in its matrix.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from axolotl.core.trainers.grpo.async_trainer import AsyncGRPOTrainer
from torch import Tensor

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


def _advantages(
    rewards: Tensor,
    groups: Tensor,
    weights: Tensor,
    applicable: Tensor | None,
    *,
    aggregation: str,
    scale: str,
) -> Tensor:
    n, (order, size) = len(groups), even_groups("axolotl", groups)
    names = [f"reward_{i}" for i in range(len(weights))]
    trainer = SimpleNamespace(
        # what the advantages depend on
        num_generations=size,
        reward_weights=torch.as_tensor(weights, dtype=torch.float32),
        reward_funcs=names,
        multi_objective_aggregation=aggregation,
        scale_rewards=scale,
        _launch_reward_workers=lambda *_: None,
        _collect_reward_workers=lambda *_: nan_where_absent(rewards, applicable)[order],
        # what surrounds them
        accelerator=SimpleNamespace(device=torch.device("cpu"), process_index=0),
        args=SimpleNamespace(
            per_device_train_batch_size=n,
            gradient_checkpointing_kwargs=None,
            steps_per_generation=1,
            gradient_accumulation_steps=1,
        ),
        model=SimpleNamespace(is_gradient_checkpointing=False),
        num_iterations=1,
        use_vllm=False,
        beta=0.0,
        reward_func_names=names,
        _post_advantage_hook=lambda *_, **__: None,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    data: dict[str, Any] = dict.fromkeys(
        ("prompt_ids", "completion_ids", "prompt_mask", "completion_mask"), torch.ones(n, 1, dtype=torch.long)
    )
    texts = ["?"] * n
    AsyncGRPOTrainer._compute_streaming_group_scores(
        trainer, data, 0, n, texts, texts, texts, texts, is_last_chunk=False
    )
    advantages = torch.empty_like(data["advantages"])
    advantages[order] = data["advantages"]
    return advantages
