"""A normalizer of your own, and what it makes of four rollouts with two rewards, beside GRPO and GDPO.

python examples/normalizer.py
cd examples && python -m gdpo_bench.run --policy demonstrations --normalizers grpo gdpo normalizer:best_reward
cd examples && python -m gdpo_bench.run --normalizers grpo gdpo normalizer:best_reward
"""

import torch

from gdpo_bench.advantages import RewardBatch, compute_advantages


def best_reward(batch: RewardBatch) -> torch.Tensor:
    """Each rollout's best reward, as a share of its declared range, centred within the group."""
    low, high = (torch.tensor([getattr(spec, end) for spec in batch.specs]) for end in ("low", "high"))
    best = ((batch.rewards - low) / (high - low)).max(1).values  # (N, K) → (N,)
    return best - batch.grouping.spread(batch.grouping.mean(best))


if __name__ == "__main__":
    from gdpo_bench import RewardSpec

    specs = [RewardSpec("format", 0, 1), RewardSpec("correctness", -3, 3)]
    rewards = [[1, -3], [0, 3], [1, 3], [0, -3]]
    for normalizer in ("grpo", "gdpo", best_reward):
        advantages = compute_advantages(normalizer, rewards, groups=[0, 0, 0, 0], specs=specs)
        print(f"{getattr(normalizer, '__name__', normalizer):12}", [round(float(a), 2) + 0.0 for a in advantages])
