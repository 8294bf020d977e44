"""How fast a real model trains: rollouts against `generate`, a step against TRL's, a warm start, runs side by side.

    python benchmarks/gpu.py                        # SmolLM2 on a GPU, at most four minutes
    python benchmarks/gpu.py --device cpu --tiny    # the same table anywhere, of a tiny model

Every figure is the median of a few repetitions after one that does not count; seconds are of the clock. TRL's trainer
takes part where it is installed (`generate` draws for it, without vLLM). Runs side by side are processes of this file,
each taking the same steps on the same device.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import gdpo_bench
from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent.backends.decoding import backend_for
from gdpo_bench.agent.backends.protocol import Sampling
from gdpo_bench.agent.options import EmbeddedConfig, PretrainedConfig, TrainingOptions
from gdpo_bench.agent.policies.embedded import build_policy, conversation_text
from gdpo_bench.agent.policies.gguf import gguf_folder
from gdpo_bench.agent.policies.imitation import imitate
from gdpo_bench.agent.policies.pretrained import choose_device, load_pretrained
from gdpo_bench.agent.policies.warm_start import demonstrated_turns
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.trainer import Trainer

ENV = "gdpo/ToolCallingMini-v1"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    prompts: int
    group_size: int
    tokens: int
    warm_steps: int
    warm_batch: int
    repeats: int
    runs: tuple[int, ...]


FULL = Sizes(16, 8, 128, warm_steps=12, warm_batch=64, repeats=3, runs=(1, 2, 6))
TINY = Sizes(2, 2, 8, warm_steps=2, warm_batch=4, repeats=2, runs=(1, 2))


def seconds(work: Callable[[], object], repeats: int, device: str) -> float:
    """Median over some repetitions, after one that does not count."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def tiny_model(folder: Path) -> Path:
    """A fresh model in the Hugging Face layout."""
    env = gdpo_bench.make_env(ENV)
    policy = build_policy(EmbeddedConfig(), [conversation_text(env.messages(task)) for task in env.tasks("train")], 0)
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    return folder


def rollout(policy: Policy, sizes: Sizes, device: str) -> tuple[float, float]:
    """Seconds of a rollout of ours, and of `generate`."""
    vec = gdpo_bench.make_vec(ENV, sizes.prompts, sizes.group_size)
    _, info = vec.reset(seed=0)
    prompts = [policy.encode(messages) for messages in info["messages"][:: sizes.group_size]]
    backend, sampling = backend_for(policy), Sampling(sizes.tokens)
    inputs = policy.tokenizer.pad([{"input_ids": ids} for ids in prompts], return_tensors="pt", padding_side="left")
    model: Any = policy.model

    @torch.inference_mode()
    def generate() -> None:
        with policy.precision():
            model.generate(
                **inputs.to(device),
                max_new_tokens=sizes.tokens,
                do_sample=True,
                top_k=0,
                num_return_sequences=sizes.group_size,
            )

    def ours() -> None:
        backend.generate(prompts, sizes.group_size, sampling, torch.Generator().manual_seed(0))

    return seconds(ours, sizes.repeats, device), seconds(generate, sizes.repeats, device)


def options(sizes: Sizes) -> TrainingOptions:
    """Of the steps that are measured."""
    return TrainingOptions(
        steps=sizes.repeats + 1,
        prompts=sizes.prompts,
        group_size=sizes.group_size,
        max_new_tokens=sizes.tokens,
        minibatches=1,
        learning_rate=1e-6,
    )


def steps(policy: Policy, sizes: Sizes, device: str) -> float:
    """Seconds of a whole step of ours."""
    trainer = Trainer(
        replace(policy, model=deepcopy(policy.model)),
        gdpo_bench.make_vec(ENV, sizes.prompts, sizes.group_size, "train"),
        gdpo_bench.make_vec(ENV, 1, 1, "eval"),
        normalizer=make_normalizer("gdpo"),
        options=options(sizes),
        weights={},
        seed=0,
    )
    numbers = iter(range(sizes.repeats + 1))

    def step() -> None:
        number = next(numbers)
        trainer.step(number, 0 if number == 0 else None)

    return seconds(step, sizes.repeats, device)


def trl_steps(folder: Path, sizes: Sizes, device: str) -> float | None:
    """Seconds of a whole step of TRL's trainer; None where it is not installed."""
    if find_spec("trl") is None:
        return None
    from transformers import TrainerCallback  # noqa: PLC0415
    from trl import GRPOTrainer  # noqa: PLC0415

    from gdpo_bench.integrations.trl import TRLEnvironment  # noqa: PLC0415

    taken: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *arguments: Any, **kwargs: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - self.began)

    env = TRLEnvironment(ENV)
    with tempfile.TemporaryDirectory() as out:
        config = env.config(
            out,
            max_steps=sizes.repeats + 1,
            per_device_train_batch_size=sizes.prompts * sizes.group_size,
            num_generations=sizes.group_size,
            max_completion_length=sizes.tokens,
            top_k=0,
            learning_rate=1e-6,
            beta=0.0,
            multi_objective_aggregation="normalize_then_sum",
            gradient_checkpointing=False,
            bf16=device == "cuda",
            use_cpu=device == "cpu",
            model_init_kwargs={"dtype": "float32"},
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            str(folder), env.reward_funcs, args=config, train_dataset=env.dataset("train"), callbacks=[Clock()]
        )
        trainer.train()
    return statistics.median(taken[1:])


def warm_start(config: PretrainedConfig, sizes: Sizes, device: str) -> float:
    """Seconds of a supervised step, loading left out by the difference of two lengths."""
    turns = demonstrated_turns({ENV: gdpo_bench.make_env(ENV)}, sizes.warm_steps * sizes.warm_batch, 0)

    def timed(count: int) -> float:
        chosen = replace(config, warm_start_steps=count, warm_start_batch=sizes.warm_batch)
        began = time.perf_counter()
        imitate(turns, chosen, 0, lambda share, text: None, device)
        return time.perf_counter() - began

    timed(1)
    short = timed(1)
    return (timed(sizes.warm_steps + 1) - short) / sizes.warm_steps


def side_by_side(words: list[str], runs: int) -> float:
    """Seconds of a step when so many processes take steps at once; the mean over them."""
    command = [sys.executable, __file__, *words, "--only-steps"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(runs)]
    return statistics.mean(float(process.communicate()[0].split()[-1]) for process in started)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--tiny", action="store_true", help="a model and sizes for any machine")
    parser.add_argument("--only-steps", action="store_true", help="print the seconds of a step and nothing else")
    given = parser.parse_args()
    device, sizes = choose_device(given.device), TINY if given.tiny else FULL
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_model(Path(scratch)) if given.tiny else gguf_folder("package:smollm2")
        config = PretrainedConfig(str(folder))
        policy = load_pretrained(config, device)
        if given.only_steps:
            print(steps(policy, sizes, device))
            return
        card = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
        size = f"{sizes.prompts} × {sizes.group_size} × {sizes.tokens}"
        precision = "mixed" if policy.mixed_precision else "float32"
        print(f"{card}, torch {torch.__version__}, {precision}, {'tiny model' if given.tiny else 'SmolLM2-135M'}\n")
        print("| what | ours, s | other, s | other / ours |\n|---|---:|---:|---:|")
        mine, other = rollout(policy, sizes, device)
        print(f"| rollout {size}, against `generate` | {mine:.3f} | {other:.3f} | {other / mine:.2f} |", flush=True)
        mine, theirs = steps(policy, sizes, device), trl_steps(folder, sizes, device)
        against = "TRL is not installed | –" if theirs is None else f"{theirs:.3f} | {theirs / mine:.2f}"
        print(f"| whole step {size}, against TRL | {mine:.3f} | {against} |", flush=True)
        warm = warm_start(config, sizes, device)
        print(f"| warm start, a step of {sizes.warm_batch} | {warm:.3f} | – | – |", flush=True)
        words = ["--device", device, *(["--tiny"] if given.tiny else [])]
        for runs in sizes.runs:
            taken = side_by_side(words, runs)
            print(f"| {runs} runs side by side, a step of one of them | {taken:.3f} | – | – |", flush=True)


if __name__ == "__main__":
    main()
