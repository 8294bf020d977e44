"""What a training run and the embedded policy can be told, with the defaults of the main job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt


class TrainingOptions(BaseModel):
    """Options of one training run; all of them go into the leaderboard entry."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    steps: PositiveInt = 40
    """Policy updates from fresh rollouts."""
    prompts: PositiveInt = 16
    """Prompts a step (P)."""
    group_size: PositiveInt = 8
    """Rollouts a prompt (G)."""
    minibatches: PositiveInt = 2
    """Gradient steps a training step, each on its share of the rollouts."""
    learning_rate: PositiveFloat = 3e-4
    """Of AdamW, constant."""
    clip: PositiveFloat = 0.2
    """PPO's bound on the probability ratio: [1 − clip, 1 + clip]."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    max_new_tokens: PositiveInt = 48
    """Longest reply, in tokens."""
    temperature: PositiveFloat = 1.0
    """Of sampling, in training and evaluation."""
    eval_every: PositiveInt = 5
    """Steps between evaluations; before the first step and after the last there is always one."""
    eval_prompts: PositiveInt = 128
    """Held-out prompts an evaluation; tasks repeat where the split holds fewer."""
    eval_group_size: PositiveInt = 2
    """Rollouts a held-out prompt."""
    max_failed_share: NonNegativeFloat = Field(default=0.1, le=1)
    """The run stops when reward functions failed on more than this share of a step's rollouts."""


@dataclass(frozen=True)
class EmbeddedConfig:
    """Size of the embedded policy and how it is warm-started."""

    hidden_size: PositiveInt = 64
    layers: PositiveInt = 2
    heads: PositiveInt = 2
    key_value_heads: PositiveInt = 1
    intermediate_size: PositiveInt = 192
    vocabulary: PositiveInt = 512
    """Entries of the byte-level BPE at most; digits stay single."""
    positions: PositiveInt = 512
    warm_start_steps: PositiveInt = 1000
    """Supervised steps; half as many leave the policy unable to copy values."""
    warm_start_batch: PositiveInt = 32
    warm_start_lr: Annotated[PositiveFloat, Field(allow_inf_nan=False)] = 5e-3
    warm_start_examples: PositiveInt = 9000
    """Demonstrations, shared evenly between the environments."""

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.heads) or self.heads % self.key_value_heads:
            raise ValueError("hidden_size must be a multiple of 2 · heads, and heads one of key_value_heads")


EMBEDDED_CONFIGS = {"mini": EmbeddedConfig()}
"""Embedded policies by name."""
