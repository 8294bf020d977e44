"""One training in a few lines of Python: GDPO on sums, with a small language model that is made on the spot.

python examples/train.py

`python -m gdpo_bench.run` does the same for several normalizers, environments and seeds, and compares them.
"""

import gdpo_bench
from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent import EmbeddedConfig, Policy, Trainer, TrainingOptions, build_corpus, warm_start
from gdpo_bench.core import Evaluation

ENV = "gdpo/MathMini-v1"
CONFIG = EmbeddedConfig(warm_start_steps=200, warm_start_examples=2000)
OPTIONS = TrainingOptions(steps=8, prompts=8, group_size=8, learning_rate=1e-3, eval_every=4, eval_prompts=32)


def show(step: int, evaluation: Evaluation | None) -> None:
    """Print the mean of each reward over held-out tasks."""
    if evaluation:
        print(f"step {step}:", {name: round(mean, 2) for name, mean in evaluation.rewards.items()})


if __name__ == "__main__":
    demonstrations = build_corpus({ENV: gdpo_bench.make_env(ENV)}, CONFIG.warm_start_examples, seed=0)
    policy = Policy.load(warm_start(demonstrations, CONFIG, seed=0))  # imitated once, then read from a cache
    trainer = Trainer(
        policy,
        gdpo_bench.make_vec(ENV, OPTIONS.prompts, OPTIONS.group_size),
        gdpo_bench.make_vec(ENV, OPTIONS.eval_prompts, OPTIONS.eval_group_size, "eval"),
        normalizer=make_normalizer("gdpo"),
        options=OPTIONS,
        weights={"correct": 2.0},
        seed=0,
    )
    result = trainer.run(show)
    print(f"{result.tokens:,} tokens drawn in {result.wall_s:.0f} s")
