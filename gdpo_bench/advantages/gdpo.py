"""GDPO: normalize each reward within its group, then add.

Source: arXiv 2601.05242, Eq. 4 to 6:

    A_k = (r_k − mean_group(r_k)) / (std_group(r_k) + ε)       for each reward k
    A   = Σ_k w_k A_k
    Â   = (A − mean_batch(A)) / (std_batch(A) + ε)

Departs in two points: rewards that are equal throughout a group up to rounding give exactly 0,
where the paper's ε lets float noise through, and whitening keeps exact zeros. Without the last
line this is MO-GRPO (arXiv 2509.22047).

    python -m gdpo_bench.run --normalizers gdpo gdpo_no_bn
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.group_norm import GroupNorm, weighted_sum
from gdpo_bench.advantages.registry import register_normalizer


@register_normalizer("gdpo")
@register_normalizer("gdpo_no_bn", batch_norm=False)
@dataclass(frozen=True)
class GDPO(GroupNorm):
    """Normalizes each reward by itself. Weights act on advantages."""

    batch_norm: bool = True
    """Whiten over the whole batch (Eq. 6). Without it this is MO-GRPO."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        present = batch.present(self.missing, self.failed)
        per_reward = self.standardize(batch.rewards, batch.groups, batch.dtype, present=present)
        advantages, size = weighted_sum(per_reward, batch.weights)
        if not self.batch_norm:
            return advantages
        rows = None if present is None else present.any(1)
        return self.whiten(advantages, batch.dtype, rows=rows, size=size)
