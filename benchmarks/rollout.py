"""How fast the embedded policy draws completions: our loop against `model.generate`.

    OMP_NUM_THREADS=1 python benchmarks/rollout.py

Both sample 48 tokens at most from the same warm-started policy with 8 completions a prompt, and
keep log-probabilities. They take turns in one process. `generate` may stop at another length, so
what is compared is the time for one token of every rollout; a ratio is the median over turns with
its quartiles.
"""

from __future__ import annotations

import statistics
import time

import torch

import gdpo_bench
from gdpo_bench.agent.backends.protocol import Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.options import EMBEDDED_CONFIGS
from gdpo_bench.agent.policies.warm_start import build_corpus, warm_start
from gdpo_bench.agent.policy import Policy

GROUP, TOKENS, TURNS = 8, 48, 15
ENVS = ("gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1")


def ours(policy: Policy, prompts: list[list[int]], seed: int) -> float:
    """Seconds for one token of every rollout."""
    rng = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    completions = TransformersBackend(policy).generate(prompts, GROUP, Sampling(TOKENS), rng)
    return (time.perf_counter() - start) / max(len(completion.token_ids) for completion in completions)


@torch.inference_mode()
def transformers_generate(policy: Policy, prompts: list[list[int]], seed: int) -> float:
    """Seconds for one token of every rollout."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    batch = policy.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    output = policy.model.generate(
        **{name: values.repeat_interleave(GROUP, 0) for name, values in batch.items() if name != "token_type_ids"},
        do_sample=True,
        top_k=0,
        max_new_tokens=TOKENS,
        output_logits=True,
        return_dict_in_generate=True,
    )
    for logits in output.logits:
        torch.log_softmax(logits.float(), -1)
    return (time.perf_counter() - start) / len(output.logits)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    config = EMBEDDED_CONFIGS["mini"]
    corpus = build_corpus({id: gdpo_bench.make_env(id) for id in ENVS}, config.warm_start_examples, seed=0)
    policy = Policy.load(warm_start(corpus, config, seed=0))
    print("| environment | rollouts | ours, tokens/s | generate / ours |\n|---|---:|---:|---:|")
    for env_id in ENVS:
        for count in (16, 32, 64):
            env = gdpo_bench.make_vec(env_id, num_prompts=count, group_size=1)
            prompts = [policy.encode(messages) for messages in env.reset(seed=0)[1]["messages"]]
            turns = [(ours(policy, prompts, i), transformers_generate(policy, prompts, i)) for i in range(TURNS)]
            low, middle, high = statistics.quantiles([theirs / own for own, theirs in turns], n=4)
            speed = count * GROUP / statistics.median(own for own, _ in turns)
            print(f"| `{env_id}` | {count * GROUP} | {speed:,.0f} | {middle:.2f} ({low:.2f}–{high:.2f}) |")


if __name__ == "__main__":
    main()
