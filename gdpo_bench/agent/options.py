"""What a training run and the embedded policy can be told, with the defaults of the main job."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from gdpo_bench.agent.backends.protocol import Sampling

_MOST = 10**9
_MOST_ROLLOUTS = 10**7
"""Of a step: their rewards alone take gigabytes."""
_Count = Annotated[int, Field(gt=0, le=_MOST)]
_CountOrNone = Annotated[int, Field(ge=0, le=_MOST)]
_Factor = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
"""Beyond, numbers of single precision overflow."""


class TrainingOptions(BaseModel):
    """Options of one training run; all of them go into the leaderboard entry."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    # Rollouts
    steps: _CountOrNone = 40
    """Policy updates from fresh rollouts; 0 only evaluates."""
    prompts: _Count = 16
    """Prompts a step (P), over all processes."""
    group_size: _Count = 8
    """Rollouts a prompt (G)."""
    max_new_tokens: _Count = 48
    """Longest reply, in tokens."""
    max_prompt_tokens: PositiveInt | None = None
    """Train on no task whose prompt has more tokens; absent: on all."""
    temperature: _Factor = 1.0
    """Of sampling."""
    dynamic_sampling: bool = False
    """Train only on groups in which an advantage is not 0, and draw further prompts for the others (DAPO, arXiv
    2503.14476, Section 3.2; there by the reward's spread, here by the final advantage)."""
    max_draws: _Count = 4
    """Batches of prompts that dynamic sampling draws for one step at most; then it trains on what there is."""
    overlong: Literal["keep", "mask"] = "keep"
    """`mask`: replies that were cut off at the limit carry no loss (DAPO's overlong filtering, Section 3.4)."""

    # Objective
    surrogate: Literal["ppo", "gspo", "cispo"] = "ppo"
    """`ppo`: clipped ratio of each token (arXiv 1707.06347). `gspo`: one ratio a reply, the geometric mean over its
    tokens (arXiv 2507.18071). `cispo`: log-probabilities weighted by the clipped ratio (arXiv 2506.13585)."""
    clip_low: NonNegativeFloat = Field(default=0.2, lt=1)
    """The probability ratio counts down to 1 − clip_low. GSPO wants about 3e-4; CISPO's paper sets no lower bound."""
    clip_high: _Factor = 0.2
    """The probability ratio counts up to 1 + clip_high (DAPO's clip-higher takes 0.28, GSPO 4e-4)."""
    aggregation: Literal["sequence_mean", "token_mean", "constant"] = "sequence_mean"
    """How tokens' losses are added up. `sequence_mean`: over a reply's tokens, then over replies (GRPO, arXiv
    2402.03300). `token_mean`: over all tokens of the minibatch (DAPO). `constant`: over replies × max_new_tokens
    (Dr. GRPO, arXiv 2503.20783)."""
    kl_coefficient: NonNegativeFloat = Field(default=0.0, le=1e30)
    """Weight of the divergence from the policy at the start, by the estimator k3
    (http://joschu.net/blog/kl-approx.html); at 0 no reference policy is kept in memory."""
    kl_reward_coefficient: NonNegativeFloat = Field(default=0.0, le=1e30)
    """Weight of the divergence from the policy at the start as a reward of its own: minus the sum of log π − log π₀
    over a reply's tokens, before advantages (RLHF, arXiv 2203.02155). A normalizer that adds rewards up, such as GRPO,
    takes it off their sum; GDPO would normalize it like the others. Excludes dynamic sampling."""
    entropy_coefficient: NonNegativeFloat = Field(default=0.0, le=1e30)
    """Weight of the policy's entropy at each token, which is to be made large; added up as the objective is."""
    importance_cap: _Factor | None = 2.0
    """Bound on the correction for a sampler whose log-probabilities are not the trainer's, such as vLLM (truncated
    importance sampling, https://fengyao.notion.site/off-policy-rl); absent: no correction."""

    # Optimizer
    epochs: _Count = 1
    """Passes over a step's rollouts."""
    minibatches: _Count = 2
    """Gradient steps a pass, each on its share of the rollouts."""
    micro_batch: _Count = 32
    """Rollouts in one forward pass, of about one length; gradients are added up over the minibatch. Halved when memory
    runs out."""
    learning_rate: _Factor = 3e-4
    """Of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls to 0 over the steps, after the warm-up."""
    warmup_steps: _CountOrNone = 0
    """Steps over which the learning rate rises to its value."""
    weight_decay: NonNegativeFloat = Field(default=0.0, le=1e30)
    """Of AdamW."""
    adam_beta1: NonNegativeFloat = Field(default=0.9, lt=1)
    """Of AdamW: how much of the gradients' running mean a gradient step leaves in place."""
    adam_beta2: NonNegativeFloat = Field(default=0.95, lt=1)
    """Of AdamW: likewise of their squares' (TRL and verl 0.999)."""
    adam_epsilon: _Factor = 1e-8
    """Of AdamW: added to the root of their squares' mean."""
    max_grad_norm: _Factor = 1.0
    """Gradients are scaled down to this norm."""

    # Evaluation
    eval_every: _Count = 5
    """Steps between evaluations; before the first step and after the last there is always one."""
    eval_prompts: _Count = 128
    """Held-out prompts an evaluation; tasks repeat where the split holds fewer."""
    eval_group_size: _Count = 2
    """Rollouts a held-out prompt."""
    eval_samples: _Count = 1
    """Seeds of sampling: an evaluation draws each prompt's rollouts once under each of them."""
    eval_temperature: Annotated[NonNegativeFloat, Field(le=1e30)] | None = None
    """Of sampling in evaluations, 0 for the likeliest token; absent: as in training."""
    eval_top_p: PositiveFloat = Field(default=1.0, le=1)
    """Evaluations draw from the likeliest tokens that hold this probability together."""
    eval_top_k: NonNegativeInt = 0
    """Evaluations draw from so many of the likeliest tokens; 0: from all."""
    eval_min_p: NonNegativeFloat = Field(default=0.0, le=1)
    """Evaluations draw from tokens that are at least this share as likely as the likeliest."""
    eval_max_new_tokens: PositiveInt | None = None
    """Longest reply in evaluations; absent: as in training."""

    max_failed_share: NonNegativeFloat = Field(default=0.1, le=1)
    """The run stops when reward functions failed on more than this share of a step's rollouts."""

    @model_validator(mode="after")
    def _rollouts_fit_into_a_step(self) -> Self:
        if self.prompts * self.group_size > _MOST_ROLLOUTS:
            raise ValueError(
                f"prompts × group_size is {self.prompts * self.group_size:,} rollouts a step; at most "
                f"{_MOST_ROLLOUTS:,} can be asked for"
            )
        return self

    @model_validator(mode="after")
    def _penalty_comes_before_advantages(self) -> Self:
        if self.kl_reward_coefficient and self.dynamic_sampling:
            raise ValueError("kl_reward_coefficient and dynamic_sampling exclude each other: leave one out")
        return self

    @property
    def sampling(self) -> Sampling:
        """How training draws."""
        return Sampling(self.max_new_tokens, self.temperature)

    def learning_rates(self) -> list[float]:
        """The learning rate of each step."""
        return [
            learning_rate(step, self.steps, peak=self.learning_rate, schedule=self.schedule, warmup=self.warmup_steps)
            for step in range(self.steps)
        ]

    @property
    def eval_sampling(self) -> Sampling:
        """How evaluations draw."""
        temperature = self.temperature if self.eval_temperature is None else self.eval_temperature
        tokens = self.eval_max_new_tokens or self.max_new_tokens
        return Sampling(tokens, temperature, self.eval_top_p, self.eval_top_k, self.eval_min_p)


def learning_rate(
    step: int,
    steps: int,
    *,
    peak: float,
    schedule: Literal["constant", "linear", "cosine"] = "constant",
    warmup: int = 0,
) -> float:
    """The learning rate of a step, counted from 0: rising over `warmup` steps, then falling to 0 at the end."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "linear":
        return peak * (1 - done)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    return peak


@dataclass(frozen=True)
class EmbeddedConfig:
    """Size of the embedded policy and how it is warm-started."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)

    hidden_size: PositiveInt = 64
    """Width of the residual stream: a multiple of twice the heads."""
    layers: PositiveInt = 2
    """Transformer blocks."""
    heads: PositiveInt = 2
    """Attention heads of a block."""
    key_value_heads: PositiveInt = 1
    """Heads of keys and values, shared by the attention heads: `heads` is a multiple."""
    intermediate_size: PositiveInt = 192
    """Width of a block's feed-forward layer."""
    vocabulary: PositiveInt = 512
    """Entries of the byte-level BPE at most; digits stay single."""
    positions: PositiveInt = 512
    """Tokens of prompt and reply together at most."""
    warm_start_steps: PositiveInt = 1000
    """Supervised steps; half as many leave the policy unable to copy values."""
    warm_start_batch: PositiveInt = 32
    """Demonstrations a supervised step."""
    warm_start_lr: _Factor = 5e-3
    """Learning rate of the supervised steps, which falls to 0 by a cosine."""
    warm_start_examples: PositiveInt = 9000
    """Demonstrations, shared evenly between the environments."""

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.heads) or self.heads % self.key_value_heads:
            raise ValueError("hidden_size must be a multiple of 2 · heads, and heads one of key_value_heads")


EMBEDDED_CONFIGS = {
    "mini": EmbeddedConfig(),
    "small": EmbeddedConfig(
        hidden_size=256,
        layers=4,
        heads=8,
        key_value_heads=4,
        intermediate_size=768,
        vocabulary=1024,
        positions=2048,
        warm_start_lr=2e-3,
    ),
    "base": EmbeddedConfig(
        hidden_size=768,
        layers=12,
        heads=12,
        key_value_heads=12,
        intermediate_size=2048,
        vocabulary=4096,
        positions=4096,
        warm_start_batch=64,
        warm_start_lr=6e-4,
        warm_start_examples=60_000,
    ),
}
"""Embedded policies by name: 0.12, 3.2 and 88 million parameters."""


@dataclass(frozen=True)
class PretrainedConfig:
    """A pretrained causal language model, and how it is trained."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)

    model: str
    """Its name on the hub, a folder, `gguf:FILE`, or `package:NAME` for one that a Python package brings along."""
    revision: str | None = None
    """Commit, branch or tag on the hub; absent: the newest."""
    dtype: Literal["auto", "float32", "mixed", "bfloat16"] = "auto"
    """Precision. `mixed`: weights and optimizer in float32, matrix products in bfloat16. `bfloat16`: everything, so
    that small updates of the weights are lost to rounding. `auto`: on a CPU `mixed` where it names instructions for
    that (avx512_bf16, amx_bf16), otherwise float32; on a GPU `mixed`, or `bfloat16` under adapters, which are float32
    themselves."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, slower."""
    lora_rank: NonNegativeInt = 0
    """Train adapters of this rank (LoRA, arXiv 2106.09685) and not the weights themselves; 0: the weights."""
    lora_alpha: _Factor = 32.0
    """Adapters are scaled by lora_alpha / lora_rank."""
    lora_targets: str = "all-linear"
    """Layers with adapters: `all-linear`, or a regular expression over their names."""
    chat_template_kwargs: dict[str, JsonValue] = field(default_factory=dict)
    """Options of the chat template. On a command line each stands by its own name: `hf:X:enable_thinking=false`."""
    warm_start_steps: NonNegativeInt = 0
    """Supervised steps before training, on the environments' imperfect demonstrations; 0: none. Each demonstration is
    seen once. A model that never gets a format right learns nothing of it by reinforcement."""
    warm_start_batch: PositiveInt = 64
    """Demonstrations a step."""
    warm_start_lr: _Factor = 3e-5
    """The highest learning rate, after 20 steps; it falls to 0 by a cosine."""

    @property
    def warm_start_examples(self) -> int:
        """Demonstrations of a warm start."""
        return self.warm_start_steps * self.warm_start_batch

    @property
    def name(self) -> str:
        """The policy as a command line names it, without options."""
        if self.model.startswith("package:"):
            return self.model.removeprefix("package:")
        return self.model if self.model.startswith("gguf:") else f"hf:{self.model}"
