"""GD²PO: GDPO that drops rollouts whose rewards pull in opposite directions.

Source: arXiv 2606.16771 and its code. From GDPO's A_k, weights inside:

    s    = Σ_k w_k A_k / (Σ_k |w_k A_k| + 1e-8)
    keep = not (some A_k > 1e-8 and some A_k < −1e-8 [and |s| < τ])
    A    = Σ_k w_k A_k · keep · (kept share of the group)
    Â    = A whitened over the kept rollouts; the dropped get 0

The bracket is the soft rule (`gd2po`); without it every mixed rollout goes (`gd2po_hard`).
Departs in one point: GDPO's rules for exact zeros. The paper's experiments use τ from 0.2 (the
code's default) to 0.8.

    python -m gdpo_bench.run --normalizers gd2po gd2po_hard
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.gdpo import GDPO
from gdpo_bench.advantages.registry import register_normalizer

_SIGN_EPS = 1e-8
_TIE = 1e-4
"""How far below τ still counts as τ: so that ε and rounding do not decide ties."""


@register_normalizer("gd2po")
@register_normalizer("gd2po_hard", rule="hard")
@dataclass(frozen=True)
class GD2PO(GDPO):
    """Filters GDPO's rollouts by agreement among rewards. Weights act on advantages."""

    rule: Literal["soft", "hard"] = "soft"
    """`soft`: drop mixed signs where |s| < tau; `hard`: drop all mixed signs."""
    tau: float = 0.2
    """Agreement below which a mixed rollout is dropped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tau <= 1:
            raise OptionError(f"Option tau must be between 0 and 1; got {self.tau!r}.")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        batch = self.weighted_first(batch)
        present = self.present(batch)
        per_reward = self.standardize(self.rewards(batch), batch.grouping, batch.dtype, present=present)
        terms = per_reward * batch.weights.to(per_reward.dtype)
        advantages, size = self.weighted_sum(per_reward, batch.grouping, batch.weights), terms.abs().sum(1)
        keep = ~((terms > _SIGN_EPS).any(1) & (terms < -_SIGN_EPS).any(1))
        if self.rule == "soft":
            keep |= (advantages / (size + _SIGN_EPS)).abs() >= self.tau - _TIE
        counted = torch.ones_like(keep) if present is None else present.any(1)
        kept = keep & counted
        share = batch.grouping.sum(kept.to(size.dtype)) / batch.grouping.sum(counted.to(size.dtype)).clamp(min=1)
        advantages = batch.grouping.combine(torch.mul, advantages * kept, share)
        return self.whiten(advantages, batch, rows=kept) if self.batch_norm else advantages
