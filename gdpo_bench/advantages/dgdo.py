"""DGDO: GDPO whose weights follow how much each reward still varies. An estimator of this project's own.

Source: ours; the formula w = EMA of softmax_k(σ_k / (|μ_k| + ε)) as this project's design notes hold it;
no public text or code could be found to check the rest against. So these are choices of ours: μ_k
and σ_k are those of the whole batch; w multiplies the weights on GDPO's A_k; the average starts at
the first batch's value. Treat results of `dgdo` as those of this file.

    w_t = momentum · w_{t−1} + (1 − momentum) · softmax_k(σ_k / (|μ_k| + ε))
    A   = Σ_k w_k weight_k A_k, then whitened as in GDPO

The average is state: `state_dict` and `load_state_dict` carry it over an interruption.

    python -m gdpo_bench.run --normalizers dgdo
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from gdpo_bench.advantages.arithmetic import entering_rewards, reward_blocks, standardize, weighted_sum, whiten
from gdpo_bench.advantages.batch import RewardBatch
from gdpo_bench.advantages.errors import BatchError, OptionError
from gdpo_bench.advantages.options import Absent, Baseline, Scope, Singleton, Statistics, ZeroVariance, check_options
from gdpo_bench.advantages.registry import register_normalizer
from gdpo_bench.advantages.sums import weighted_before


@register_normalizer("dgdo")
@dataclass(frozen=True)
class DGDO:
    """Weights GDPO's advantages by a running average of relative spreads."""

    eps: float = 1e-6
    """Added to standard deviations (TRL 1e-4, verl 1e-6)."""
    ddof: int = 1
    """1 for the sample standard deviation, which all frameworks use; 0 for the population's."""
    baseline: Baseline = "mean"
    """Subtract the group's mean, or the mean of the group's other rollouts."""
    zero_variance: ZeroVariance = "zero"
    """What becomes of groups whose rewards are equal."""
    singleton: Singleton = "zero"
    """What becomes of a group of one."""
    missing: Absent = "skip"
    """A reward that is not applicable to a rollout."""
    failed: Absent = "skip"
    """A reward whose scorer failed."""
    statistics: Statistics = "float64"
    """Precision of all arithmetic."""
    weighting: Literal["after", "before"] = "after"
    """Whether weights multiply normalized advantages, or rewards before they are normalized."""
    batch_norm: bool = True
    """Whiten over the whole batch (Eq. 6). Without it this is MO-GRPO."""
    scope: Scope = "sequence"
    """What whitening counts once: a rollout, a token, or a rollout within its own group."""
    whitening_eps: float | None = None
    """ε of whitening, in place of `eps`."""
    eps_in_root: bool = False
    """Whether whitening adds ε to the variance (verl) and not to the standard deviation."""
    whiten_absent: bool = False
    """Whether a rollout that has no part in the statistics enters those of whitening, as 0."""
    momentum: float = 0.9
    """Share of the old weights that a batch leaves in place; 0 for no memory."""
    _state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.momentum < 1:
            raise OptionError(f"Option momentum must be at least 0 and below 1; got {self.momentum!r}.")

    def idle(self) -> tuple[str, ...]:
        """Options without effect beside the others."""
        if not self.batch_norm:
            return ("scope", "whitening_eps", "eps_in_root", "whiten_absent")
        return ("eps_in_root",) if self.scope == "group" else ()

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K), group ids (N,) and weights (K,); updates the average."""
        weights = batch.weights * self._update(batch)
        if self.weighting == "before":
            batch = weighted_before(batch, weights)
            weights = batch.weights
        rewards = reward_blocks(batch, missing=self.missing, failed=self.failed, statistics=self.statistics)
        per_reward = standardize(
            rewards,
            eps=self.eps,
            ddof=self.ddof,
            baseline=self.baseline,
            zero_variance=self.zero_variance,
            singleton=self.singleton,
            overwrite=True,
        )
        advantages = batch.grouping.restore(weighted_sum(per_reward, rewards, weights, self.zero_variance))
        if not self.batch_norm:
            return advantages
        return whiten(
            advantages,
            batch,
            eps=self.eps if self.whitening_eps is None else self.whitening_eps,
            ddof=self.ddof,
            scope=self.scope,
            eps_in_root=self.eps_in_root,
            zero_variance=self.zero_variance,
            rows=None if self.whiten_absent else rewards.rows(),
        )

    def state_dict(self) -> dict[str, Any]:
        """The running average as plain numbers."""
        return {name: value.tolist() for name, value in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.clear()
        self._state.update({name: torch.tensor(value, dtype=torch.float64) for name, value in state.items()})

    def _update(self, batch: RewardBatch) -> Tensor:
        """Advance the average by one batch and return it, (K,)."""
        entering = entering_rewards(batch, self.missing, self.failed)
        counted = torch.ones_like(batch.rewards) if entering is None else entering.to(batch.rewards.dtype)
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
