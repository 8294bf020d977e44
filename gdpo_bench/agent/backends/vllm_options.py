"""How vLLM runs beside the trainer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class VLLMOptions(BaseModel):
    """Options of the vllm rollout backend."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Of the sampler's weights; `auto` is float32 on a CPU and bfloat16 on a GPU."""
    max_model_len: PositiveInt | None = None
    """Longest prompt and completion together, in tokens; absent: the policy's context."""
    max_num_seqs: PositiveInt = 512
    """Completions drawn at the same time; more wait."""
    gpu_memory_utilization: float = Field(default=0.4, gt=0, le=1)
    """Share of the GPU's memory for the sampler, its cache included; the trainer needs the rest."""
    kv_cache_gib: PositiveFloat | None = None
    """Size of the cache of keys and values; absent: 1 on a CPU, what gpu_memory_utilization leaves on a GPU."""
    enforce_eager: bool = False
    """Do without CUDA graphs: a quicker start, slower rollouts. Always so on a CPU."""
    sleep_level: Literal[0, 1, 2] = 0
    """What is freed on a GPU during the update. 0: nothing; 1: the cache, weights wait in main memory; 2: both."""
    probe_tolerance: PositiveFloat | None = None
    """Mean difference of log-probabilities after a transfer of weights that stops the run; absent: 0.001 in float32,
    0.02 in float16, 0.1 in bfloat16."""
