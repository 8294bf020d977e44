"""What would GRPO and GDPO make of rewards that somebody recorded? Nothing is trained.

python examples/advise.py
"""

import json
import random
import tempfile
from pathlib import Path

from gdpo_bench.advice import advise, read_log

rng = random.Random(0)
lines = []
for prompt in range(100):
    for _ in range(8):
        correct = rng.random() < 0.33
        format = not correct and rng.random() < 0.08
        lines.append({"group": prompt, "rewards": {"correct": 12 * correct, "format": int(format)}})
with tempfile.TemporaryDirectory() as folder:
    log = Path(folder) / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    advice = advise(read_log(log), ["gdpo"], using="grpo")

for name, reward in advice.rewards.items():
    for normalizer, outlook in reward.outlooks.items():
        chance = f"learned with probability {outlook.learned:.2f}"
        print(f"{name:<8} {normalizer:<5} ρ {outlook.rho:+.2f}  {chance}: {outlook.verdict}")
    print("", *reward.sentences, "", sep="\n")
