"""DVAO: advantages weighted by their own spread within the group.

Source: arXiv 2605.25604, section 3.2, Eq. 8 and 9. With x_k = (r_k − low_k) / (high_k − low_k),

    A = Σ_k w_k (x_k − mean_group(x_k)) / Σ_k w_k std_group(x_k)

which is Σ_k v_k A_k with v_k = w_k σ_k / Σ_l w_l σ_l. No whitening. The paper takes rewards from 0 to 1 for
granted; of the ports that are known to us one rescales by declared bounds, one takes rewards as they are
(`dvao_raw`). A common scale of all rewards cancels, that of a single one does not. Domain: declared ranges
(but for `dvao_raw`), and weights that are not negative. Departs in two points:

1. Rewards that are equal throughout a group up to rounding are centred to exactly 0.
2. Values outside their declared range are rescaled like others; the port refuses them.

    python -m gdpo_bench.run --normalizers dvao dvao_raw
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import centre, reward_blocks
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.domain import declared_widths, refuse_negative_weights
from gdpo_bench.advantages.options import Absent, Statistics, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.core.rewards import RewardSpec

_NO_SPREAD = 1e-8


@register_normalizer("dvao")
@register_normalizer("dvao_raw", rescale=False)
@dataclass(frozen=True)
class DVAO:
    """Divides the centred sum by the sum of the spreads. Weights act on rewards."""

    ddof: int = 0
    """0 for the population's standard deviation, 1 for the sample's."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""
    rescale: bool = True
    """Whether rewards are divided by their declared ranges."""

    def __post_init__(self) -> None:
        check_options(self)

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse negative weights.

        Raises:
            DomainError: A weight is negative, or all are 0.
        """
        refuse_negative_weights((weights[spec.name] for spec in specs), "dvao")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), with specs if rescaled, group ids (N,) and weights (K,)."""
        refuse_negative_weights(batch.weights.tolist(), "dvao")
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        weights = batch.weights / declared_widths(batch, "dvao") if self.rescale else batch.weights
        centred, weights = centre(rewards), weights.to(rewards.values.dtype)
        counts = torch.as_tensor(rewards.counts, device=centred.device) - self.ddof
        spreads = (batch.grouping.total(centred.square()) / counts.clamp(min=1)).sqrt_() @ weights
        sums = (centred @ weights) / spreads.clamp(min=_NO_SPREAD)
        return batch.grouping.restore(sums.masked_fill_(spreads <= _NO_SPREAD, 0.0))
