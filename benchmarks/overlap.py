"""What it brings to score programs beside training: whole runs with and without, in turns, in one process.

    OMP_NUM_THREADS=1 python benchmarks/overlap.py      # needs a Docker engine

One run of `gdpo/CodingMini-v1` from one warm start, whose programs run in containers, once as it is and once with an
environment that says its rewards are not computed elsewhere. Numbers of both must be equal. Programs run on other cores
than training, so that a machine with one core shows nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gdpo_envs.coding import execution
from gdpo_envs.coding.mini import CodingMini
from measuring import spread

import gdpo_bench
from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent.metrics import MetricsLog
from gdpo_bench.agent.options import EMBEDDED_CONFIGS, TrainingOptions
from gdpo_bench.agent.policies.warm_start import build_corpus, warm_start
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.trainer import Trainer

ENV = "gdpo/CodingMini-v1"


class JudgedInTurn(CodingMini):
    """The same, scored while training waits."""

    scored_elsewhere = False


def run(policy: Policy, env_id: str, options: TrainingOptions, folder: Path) -> tuple[float, float, bytes]:
    """Seconds of a run, those that it waited for rewards in, and its reward vectors."""
    execution._verdicts.clear()  # what the run before has found out
    trainer = Trainer(
        Policy(copy.deepcopy(policy.model), policy.tokenizer),
        gdpo_bench.make_vec(env_id, options.prompts, options.group_size, "train"),
        gdpo_bench.make_vec(env_id, options.eval_prompts, options.eval_group_size, "eval"),
        normalizer=make_normalizer("gdpo"),
        options=options,
        weights={spec.name: 1.0 for spec in gdpo_bench.make_env(env_id).reward_specs},
        seed=0,
        open_log=lambda first_step: MetricsLog(folder, "run", first_step=first_step),
    )
    started = time.perf_counter()
    vectors = trainer.run().vectors
    whole = time.perf_counter() - started
    lines: list[dict[str, Any]] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return whole, sum(line.get("seconds/waiting", 0.0) for line in lines), vectors


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    rounds = parser.parse_args().rounds
    gdpo_bench.register("bench/JudgedInTurn-v0", JudgedInTurn)
    corpus = build_corpus({ENV: gdpo_bench.make_env(ENV)}, 9000, 0)
    policy = Policy.load(warm_start(corpus, EMBEDDED_CONFIGS["mini"], 0, lambda share, text: None))
    print("| run | in turn, s | beside training, s | in turn / beside | waiting for rewards, s |")
    print("|---|---:|---:|---:|---:|")
    for name, options in (
        ("as in the main job", TrainingOptions(steps=10)),
        ("with a reference policy", TrainingOptions(steps=10, kl_coefficient=1e-3)),
    ):
        pairs = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                turn = run(policy, "bench/JudgedInTurn-v0", options, Path(one))
                beside = run(policy, ENV, options, Path(other))
            assert turn[2] == beside[2], "both runs must measure the same"
            pairs.append((turn, beside))
        seconds = [[run[kind][0] for run in pairs] for kind in (0, 1)]
        waiting = [statistics.median(run[kind][1] for run in pairs) for kind in (0, 1)]
        ratios = [turn[0] / beside[0] for turn, beside in pairs]
        print(
            f"| {name} | {spread(seconds[0], '.1f')} | {spread(seconds[1], '.1f')} | {spread(ratios, '.2f')} "
            f"| {waiting[0]:.1f} / {waiting[1]:.1f} |"
        )


if __name__ == "__main__":
    main()
