"""How many runs share a GPU: what its memory holds, and this machine's cores can feed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gdpo_bench.agent.backends.graphs import total_memory
from gdpo_bench.agent.options import EmbeddedConfig, PretrainedConfig, TrainingOptions
from gdpo_bench.agent.policies import embedded, pretrained
from gdpo_bench.core.processor import usable_cores
from gdpo_bench.jobs.plan import Plan

_WEIGHT_BYTES = 18
"""A weight, its gradient and two moments in float32, and the weight in bfloat16 to draw with."""
_LOGIT_BYTES = 16
"""A logit, its logarithm and their gradients in float32, which are most of what a pass over replies holds."""
_PROCESS_BYTES = 1 << 30
"""CUDA's context, kernels and their workspace."""
_PROMPT_TOKENS = 512
"""Of a prompt, where the job sets no limit."""
_USABLE = 0.9
"""Of a GPU's memory."""


def runs_per_gpu(plan: Plan) -> int:
    """Runs that share a GPU: as many as the job says, or as many as fit; one where vLLM, which takes a share, draws."""
    runs = len(plan.pairs) * len(plan.job.all_seeds)
    if plan.job.runtime.runs_per_gpu is not None:
        return min(plan.job.runtime.runs_per_gpu, runs)
    if plan.vllm is not None or plan.policy.config is None:
        return 1
    gpus = range(torch.cuda.device_count())
    memory = min(total_memory(torch.device("cuda", gpu)) for gpu in gpus)
    needed = run_bytes(plan.policy.config, [plan.training(*pair) for pair in plan.pairs])
    return min(fitting(memory, needed), max(1, usable_cores() // len(gpus)), runs)


def run_bytes(config: EmbeddedConfig | PretrainedConfig, trainings: Sequence[TrainingOptions]) -> int:
    """Memory of a GPU that the largest run takes, as long as its prompts are not longer than is assumed."""
    weights, vocabulary = embedded.sizes(config) if isinstance(config, EmbeddedConfig) else pretrained.sizes(config)
    tokens = max(
        one.micro_batch * ((one.max_prompt_tokens or _PROMPT_TOKENS) + one.max_new_tokens) for one in trainings
    )
    return _WEIGHT_BYTES * weights + _LOGIT_BYTES * tokens * vocabulary + _PROCESS_BYTES


def fitting(memory: int, needed: int) -> int:
    """How many runs fit into a GPU's memory; at least one, which says itself that it does not."""
    return max(1, int(_USABLE * memory) // needed)
