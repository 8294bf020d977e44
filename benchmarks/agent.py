"""How long a whole training step takes: ours against TRL's GRPOTrainer, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/agent.py      # in an environment with TRL: tox -e trl --notest

Both train the same warm-started policy on the same prompts, with the same group size, lengths and sampling, by the
same single update of all rollouts (AdamW, no reference policy). They take turns in one process, a few steps at a time,
from the same weights; seconds are of CPU, which other programs disturb less. Advantages are GDPO's: ours, and TRL's
`normalize_then_sum`. Below stands where a step of ours goes, and the memory of both together.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measuring import resident_bytes, spread

import gdpo_bench
from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent.metrics import MetricsLog
from gdpo_bench.agent.options import EMBEDDED_CONFIGS, TrainingOptions
from gdpo_bench.agent.policies.warm_start import build_corpus, warm_start
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.trainer import Trainer
from gdpo_bench.integrations.trl import TRLEnvironment

ENVS = ("gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1")
OPTIONS = TrainingOptions(
    steps=6, prompts=16, group_size=8, minibatches=1, max_new_tokens=48, eval_every=1000, eval_prompts=1
)


def ours(policy: Policy, env_id: str, folder: Path) -> tuple[list[float], list[dict[str, float]]]:
    """CPU seconds of each step, and what was measured in it."""
    trained = Policy(copy.deepcopy(policy.model), policy.tokenizer)
    clock = [time.process_time()]

    def tick(step: int, evaluation: Any) -> None:
        clock.append(time.process_time())

    Trainer(
        trained,
        gdpo_bench.make_vec(env_id, OPTIONS.prompts, OPTIONS.group_size, "train"),
        gdpo_bench.make_vec(env_id, 1, 1, "eval"),
        normalizer=make_normalizer("gdpo"),
        options=OPTIONS,
        weights={spec.name: 1.0 for spec in gdpo_bench.make_env(env_id).reward_specs},
        seed=0,
        open_log=lambda first_step: MetricsLog(folder, "run", first_step=first_step),
    ).run(tick)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # Before the first tick lie an evaluation and step 0, before the last one the evaluation at the end.
    return [later - earlier for earlier, later in pairwise(clock[1:-1])], lines[1:-1]


def trl_steps(folder: Path, env_id: str, out: Path) -> list[float]:
    """CPU seconds of each step of TRL's trainer."""
    from transformers import TrainerCallback  # noqa: PLC0415
    from trl import GRPOTrainer  # noqa: PLC0415

    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *arguments: Any, **kwargs: Any) -> None:
            self.started = time.process_time()

        def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
            seconds.append(time.process_time() - self.started)

    env = TRLEnvironment(env_id)
    config = env.config(
        str(out),
        max_steps=OPTIONS.steps,
        per_device_train_batch_size=OPTIONS.prompts * OPTIONS.group_size,
        num_generations=OPTIONS.group_size,
        max_completion_length=OPTIONS.max_new_tokens,
        temperature=OPTIONS.temperature,
        top_k=0,
        learning_rate=OPTIONS.learning_rate,
        lr_scheduler_type="constant",
        beta=0.0,
        loss_type="grpo",
        multi_objective_aggregation="normalize_then_sum",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    trainer = GRPOTrainer(
        str(folder), env.reward_funcs, args=config, train_dataset=env.dataset("train"), callbacks=[Clock()]
    )
    trainer.train()
    return seconds[1:]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="how often each takes its turn")
    turns: int = parser.parse_args().turns
    torch.set_num_threads(1)
    config = EMBEDDED_CONFIGS["mini"]
    corpus = build_corpus({id: gdpo_bench.make_env(id) for id in ENVS}, config.warm_start_examples, seed=0)
    folder = warm_start(corpus, config, seed=0)
    policy = Policy.load(folder)
    print("| environment | ours, s a step | rollouts/s | TRL, s a step | TRL / ours |\n|---|---:|---:|---:|---:|")
    shares: dict[str, list[dict[str, float]]] = {}
    for env_id in ENVS:
        mine: list[float] = []
        ratios: list[float] = []
        theirs: list[float] = []
        for _ in range(turns):
            with tempfile.TemporaryDirectory() as scratch:
                own, lines = ours(policy, env_id, Path(scratch))
                other = trl_steps(folder, env_id, Path(scratch))
            mine += own
            theirs += other
            ratios.append(statistics.median(other) / statistics.median(own))
            shares.setdefault(env_id, []).extend(lines)
        rate = OPTIONS.prompts * OPTIONS.group_size / statistics.median(mine)
        print(
            f"| `{env_id}` | {statistics.median(mine):.3f} | {rate:,.0f} | {statistics.median(theirs):.3f} "
            f"| {spread(ratios, '.2f')} |"
        )
    print(
        "\n| environment | rollout | log-probabilities | waiting for rewards | advantages | update |"
        "\n|---|---:|---:|---:|---:|---:|"
    )
    for env_id, lines in shares.items():
        parts = {
            part: statistics.median(line[f"seconds/{part}"] for line in lines)
            for part in ("rollout", "log_probs", "waiting", "advantages", "update")
        }
        whole = sum(parts.values())
        print(f"| `{env_id}` | " + " | ".join(f"{seconds / whole:.0%}" for seconds in parts.values()) + " |")
    print(f"\nPeak memory of the process, TRL included: {resident_bytes('VmHWM') / 2**20:,.0f} MiB.")


if __name__ == "__main__":
    main()
