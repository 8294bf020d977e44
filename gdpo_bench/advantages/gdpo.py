"""GDPO: normalize each reward within its group, then add.

Source: arXiv 2601.05242, Eq. 4 to 6:

    A_k = (r_k − mean_group(r_k)) / (std_group(r_k) + ε)       for each reward k
    A   = Σ_k w_k A_k
    Â   = (A − mean_batch(A)) / (std_batch(A) + ε)

Departs in two points: rewards that are equal throughout a group up to rounding give exactly 0,
where the paper's ε lets float noise through, and whitening keeps exact zeros. Without the last
line this is MO-GRPO (arXiv 2509.22047), registered as `gdpo_no_bn` and `mo_grpo`.

Weights act on advantages, in the paper and in every framework that is known to us. Put before the
normalization (`weighting="before"`) they cancel: (w r − w mean) / (w std) is the same for any w > 0,
but for what ε leaves. GRPO has no such choice: its weights act on rewards, and afterwards is GDPO.

    python -m gdpo_bench.run --normalizers gdpo gdpo_no_bn
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.grpo import GRPO
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.whitening import Whitening


@register_normalizer("gdpo")
@register_normalizer("gdpo_no_bn", batch_norm=False)
@register_normalizer("mo_grpo", batch_norm=False)
@dataclass(frozen=True)
class GDPO(Whitening):
    """Normalizes each reward by itself. Weights act on advantages."""

    weighting: Literal["after", "before"] = "after"
    """Whether weights multiply normalized advantages, or rewards before they are normalized."""
    batch_norm: bool = True
    """Whiten over the whole batch (Eq. 6). Without it this is MO-GRPO."""
    grpo_if_single: bool = False
    """Whether a single reward is handed to GRPO, with the same options (the authors' TRL)."""

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,)."""
        if self.grpo_if_single and batch.given.shape[1] == 1:
            shared = {field.name for field in dataclasses.fields(GRPO)} & vars(self).keys()
            return GRPO(**{name: getattr(self, name) for name in shared})(batch)
        batch = self.weighted_first(batch)
        present, sums = self.present(batch), []
        # A piece adds up in its own order, and without exact zeros a framework's order counts: rounding noise shows.
        whole = [(slice(None), batch.grouping)]
        pieces = batch.grouping.pieces(batch.given.shape[1]) if self.exact_zeros else whole
        for rows, groups in pieces:
            there = None if present is None else groups.arrange(present[rows], torch.bool)
            rewards = groups.arrange(batch.given[rows], self.precision)
            standardized = self.standardize(rewards, groups, batch.dtype, present=there, overwrite=True)
            sums.append(groups.restore(self.weighted_sum(standardized, groups, batch.weights)))
        advantages = torch.cat(sums)
        if not self.batch_norm:
            return advantages
        return self.whiten(advantages, batch, rows=None if present is None else present.any(1))

    def weighted_first(self, batch: RewardBatch) -> RewardBatch:
        """The batch as it is; or, with weights before, with weighted rewards and weights of one."""
        if self.weighting == "after":
            return batch
        given = batch.given * batch.weights.to(batch.dtype)
        return dataclasses.replace(batch, given=given, weights=torch.ones_like(batch.weights))
