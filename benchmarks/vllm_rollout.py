"""How fast our loop and vLLM draw completions, and how far their log-probabilities are apart.

    OMP_NUM_THREADS=1 python benchmarks/vllm_rollout.py

Both sample 48 tokens at most from the same warm-started embedded policy with 8 completions a prompt,
in turns in one process, from `MathMini`'s prompts. They stop at different lengths, so what counts is
tokens drawn a second; a ratio is the median over turns with its quartiles. Differences are
|sampler − trainer| of the log-probability of each token that vLLM drew, against a forward pass of
transformers in float32.

vLLM needs an environment of its own; on a CPU that of `tox -e vllm`.
"""

from __future__ import annotations

import os
import statistics
import time

import torch

import gdpo_bench
from gdpo_bench.agent.backends.protocol import Completion, RolloutBackend, Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.backends.vllm import VLLMBackend
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.options import EMBEDDED_CONFIGS
from gdpo_bench.agent.policies.warm_start import build_corpus, warm_start
from gdpo_bench.agent.policy import Policy, log_probs_of

ENV, GROUP, TOKENS, TURNS = "gdpo/MathMini-v1", 8, 48, 9


def draw(backend: RolloutBackend, prompts: list[list[int]], seed: int) -> tuple[list[Completion], float]:
    """Completions, and tokens a second."""
    rng = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    completions = backend.generate(prompts, GROUP, Sampling(TOKENS), rng)
    seconds = time.perf_counter() - start
    return completions, sum(len(completion.token_ids) for completion in completions) / seconds


@torch.inference_mode()
def differences(policy: Policy, prompts: list[list[int]], completions: list[Completion]) -> torch.Tensor:
    """|sampler − trainer| of all tokens."""
    parts = []
    for i, completion in enumerate(completions):
        prompt = prompts[i // GROUP]
        token_ids = torch.tensor([prompt + completion.token_ids])
        logits = policy.model(input_ids=token_ids).logits
        trainer = log_probs_of(token_ids[:, 1:], logits[:, :-1])[0, len(prompt) - 1 :]
        parts.append((torch.tensor(completion.log_probs) - trainer).abs())
    return torch.cat(parts)


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    config = EMBEDDED_CONFIGS["mini"]
    corpus = build_corpus({ENV: gdpo_bench.make_env(ENV)}, config.warm_start_examples, seed=0)
    policy = Policy.load(warm_start(corpus, config, seed=0))
    env = gdpo_bench.make_vec(ENV, num_prompts=64, group_size=1)
    prompts = [policy.encode(messages) for messages in env.reset(seed=0)[1]["messages"]]
    ours, vllm = TransformersBackend(policy), VLLMBackend(policy)
    print(f"load average {os.getloadavg()[0]:.1f} before the run\n")
    print("| rollouts | ours, tokens/s | vLLM, tokens/s | ours / vLLM |\n|---:|---:|---:|---:|")
    for count in (16, 64):
        turns = [(draw(ours, prompts[:count], i)[1], draw(vllm, prompts[:count], i)[1]) for i in range(TURNS)]
        low, middle, high = statistics.quantiles([own / theirs for own, theirs in turns], n=4)
        own, theirs = (statistics.median(speeds) for speeds in zip(*turns, strict=True))
        print(f"| {count * GROUP} | {own:,.0f} | {theirs:,.0f} | {middle:.2f} ({low:.2f}–{high:.2f}) |")
    start = time.perf_counter()
    for _ in range(TURNS):
        vllm.update_weights(policy)
    print(f"\nWeights sent and probed in {(time.perf_counter() - start) / TURNS * 1000:.0f} ms.\n")
    vllm.close()

    print("| sampler's dtype | mean difference | 99th percentile | largest |\n|---|---:|---:|---:|")
    for dtype in ("float32", "float16", "bfloat16"):
        vllm = VLLMBackend(policy, VLLMOptions(dtype=dtype))
        apart = differences(policy, prompts, draw(vllm, prompts, 0)[0])
        vllm.close()
        print(f"| {dtype} | {apart.mean():.1e} | {apart.quantile(0.99):.1e} | {apart.max():.1e} |")


if __name__ == "__main__":
    main()
