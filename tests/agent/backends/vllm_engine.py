"""What tests of vLLM share."""

import importlib.util
import os

import pytest
import torch
from transformers import Qwen2ForCausalLM

from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policies.embedded import build_policy
from gdpo_bench.agent.policy import Policy

TEXTS = ["What is 1+2? It is 3.", "<think>so 4</think><answer>5</answer>", "abracadabra"]
CONTEXT = 4096  # the prompts of ToolDialog are long in tokens of these texts

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None and "GDPO_BENCH_NEEDS_VLLM" not in os.environ,
    reason="vLLM is not installed: tox -e vllm",
)


def make_policy(*, tied: bool = True, seed: int = 1) -> Policy:
    """Fresh weights of the embedded policy, made larger so that some tokens are much likelier than others."""
    policy = build_policy(EmbeddedConfig(positions=CONTEXT), TEXTS, seed)
    if not tied:
        config = policy.model.config
        config.tie_word_embeddings = False
        policy = Policy(Qwen2ForCausalLM(config), policy.tokenizer)
    with torch.no_grad():
        for weights in policy.model.parameters():
            weights.mul_(2)
    return policy


def change(policy: Policy) -> None:
    """Move all weights as an update does, in place."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in policy.model.parameters():
            weights.add_(0.02 * torch.randn(weights.shape, generator=rng))
