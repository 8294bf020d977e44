"""DGDO: GDPO whose weights follow how much each reward still varies.

Source: the formula w = EMA of softmax_k(σ_k / (|μ_k| + ε)) as this project's design notes hold it;
no public text or code could be found to check the rest against. So these are choices of ours: μ_k
and σ_k are those of the whole batch; w multiplies the weights on GDPO's A_k; the average starts at
the first batch's value. Treat results of `dgdo` as those of this file.

    w_t = momentum · w_{t−1} + (1 − momentum) · softmax_k(σ_k / (|μ_k| + ε))
    A   = Σ_k w_k weight_k A_k, then whitened as in GDPO

The average is state: `state_dict` and `load_state_dict` carry it over an interruption.

    python -m gdpo_bench.run --normalizers dgdo
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import BatchError, OptionError
from gdpo_bench.advantages.gdpo import GDPO
from gdpo_bench.advantages.registry import register_normalizer


@register_normalizer("dgdo")
@dataclass(frozen=True)
class DGDO(GDPO):
    """Weights GDPO's advantages by a running average of relative spreads."""

    momentum: float = 0.9
    """Share of the old weights that a batch leaves in place; 0 for no memory."""
    _state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise OptionError(f"Option momentum must be at least 0 and below 1; got {self.momentum!r}.")

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,); updates the average."""
        return super().__call__(dataclasses.replace(batch, weights=batch.weights * self._update(batch)))

    def state_dict(self) -> dict[str, Any]:
        """The running average as plain numbers."""
        return {name: value.tolist() for name, value in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.clear()
        self._state.update({name: torch.tensor(value, dtype=torch.float64) for name, value in state.items()})

    def _update(self, batch: RewardBatch) -> Tensor:
        """Advance the average by one batch and return it, (K,)."""
        present = self.present(batch)
        counted = torch.ones_like(batch.rewards) if present is None else present.to(batch.rewards.dtype)
        counts = counted.sum(0).clamp(min=1)
        means = (batch.rewards * counted).sum(0) / counts
        variances = ((batch.rewards - means).square() * counted).sum(0) / (counts - self.ddof).clamp(min=1)
        new = torch.softmax(variances.sqrt() / (means.abs() + max(self.eps, 1e-30)), dim=0)
        old = self._state.get("weights", new).to(new.device)
        if old.shape != new.shape:
            raise BatchError(
                f"This dgdo has weights for {len(old)} rewards, and the batch has {len(new)}; make a new one for it."
            )
        self._state["weights"] = self.momentum * old + (1 - self.momentum) * new
        return self._state["weights"]
