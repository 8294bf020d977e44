"""The policy-gradient objectives, as pure functions of tensors.

A loss is put together from three choices: each token's surrogate (`ppo`, `gspo`, `cispo`), the divergence from a
reference policy (`k3`), and how tokens are added up (`aggregate`). `minibatch_loss` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import JsonValue

from gdpo_bench.agent.language_model import Tokenizer
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.rollouts import Rollouts

Surrogate = Literal["ppo", "gspo", "cispo"]
Aggregation = Literal["sequence_mean", "token_mean", "constant"]
Measures = dict[str, float]
"""By name."""


@dataclass(frozen=True)
class Totals:
    """What a sum is divided by: the sizes of the whole minibatch, of which a process may see only a part."""

    replies: int
    tokens: int


class Batch:
    """One step's rollouts as the loss sees them; column t belongs to token t + 1."""

    def __init__(
        self,
        rollouts: Rollouts,
        advantages: torch.Tensor,
        options: TrainingOptions,
        own_log_probs: torch.Tensor | None = None,
        reference_log_probs: torch.Tensor | None = None,
    ) -> None:
        """Bring together what a loss is about.

        Args:
            rollouts: N rollouts.
            advantages: (N,).
            options: What the loss is put together from.
            own_log_probs: (N, L − 1) by the policy before the update; None where the sampler's are its own.
            reference_log_probs: (N, L − 1) by the reference policy; None where there is none.
        """
        self.rollouts, self.advantages, self.options = rollouts, advantages, options
        self.reference = reference_log_probs
        self.completion_mask = rollouts.completion_mask[:, 1:]
        if options.overlong == "mask":
            self.completion_mask = self.completion_mask & ~rollouts.truncated[:, None]
        self.old = rollouts.log_probs[:, 1:]
        self.importance: torch.Tensor | None = None
        self.measures: Measures = {}
        if own_log_probs is not None:
            self._correct_sampler(own_log_probs)

    def __len__(self) -> int:
        return len(self.rollouts)

    def _correct_sampler(self, log_probs: torch.Tensor) -> None:
        """Take the trainer's log-probabilities for the old ones, and weight tokens by how much likelier they are."""
        mask = self.completion_mask
        difference = torch.where(mask, log_probs - self.old, 0.0)
        self.measures["sampler_difference"] = float(difference.abs().sum() / mask.sum().clamp(min=1))
        self.old = log_probs
        if self.options.importance_cap is not None:
            self.importance = difference.exp().clamp(max=self.options.importance_cap)

    def totals(self, rows: torch.Tensor) -> Totals:
        """The sizes of a minibatch."""
        return Totals(len(rows), int(self.completion_mask[rows].sum()))

    def parts(self, rows: torch.Tensor, size: int) -> list[torch.Tensor]:
        """The rows in parts of about one length each, so that little is padded."""
        ends = (self.completion_mask[rows] * torch.arange(1, self.completion_mask.shape[1] + 1)).amax(1)
        return [part for part in rows[ends.argsort(stable=True)].split(size) if len(part)]

    def columns(self, rows: torch.Tensor) -> slice:
        """The columns that hold all that counts of some rollouts."""
        counting = self.completion_mask[rows].any(0).nonzero()
        return slice(int(counting[0]), int(counting[-1]) + 1) if len(counting) else slice(0, 1)

    def described(self, rows: torch.Tensor, tokenizer: Tokenizer) -> list[dict[str, JsonValue]]:
        """Some of the rollouts as JSON."""
        return [
            {
                "text": str(tokenizer.decode(self.rollouts.token_ids[row])),
                "rewards": self.rollouts.scores.values[row].tolist(),
                "group": int(self.rollouts.groups[row]),
                "advantage": float(self.advantages[row]),
                "log_probs": self.old[row][self.completion_mask[row]].tolist(),
            }
            for row in rows.tolist()
        ]


def added(parts: Sequence[Measures]) -> Measures:
    """Measures of parts as one's; a process that had no rows has none."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def minibatch_loss(
    log_probs: torch.Tensor,
    batch: Batch,
    rows: torch.Tensor,
    columns: slice,
    totals: Totals,
    *,
    entropy: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Measures]:
    """What a part of a minibatch adds to its loss, which is to be made small.

    Args:
        log_probs: (rows, columns) under the policy that learns.
        batch: The step's rollouts.
        rows: Indices of the part.
        columns: Those of `Batch.columns`.
        totals: Sizes of the whole minibatch.
        entropy: (rows, columns) of the policy that learns, where it is part of the loss.

    Returns:
        The loss, and measures of it by name.
    """
    options, device = batch.options, log_probs.device
    mask = batch.completion_mask[rows, columns].to(device)
    old, advantages = batch.old[rows, columns].to(device), batch.advantages[rows].to(device)

    def total(tokens: torch.Tensor) -> torch.Tensor:
        return aggregate(tokens, mask, totals, options.aggregation, options.max_new_tokens)

    surrogate = token_surrogate(
        log_probs,
        old,
        mask,
        advantages,
        surrogate=options.surrogate,
        clip_low=options.clip_low,
        clip_high=options.clip_high,
    )
    if batch.importance is not None:
        surrogate = surrogate * batch.importance[rows, columns].to(device)
    loss = -total(surrogate)
    measures: Measures = {}
    if entropy is not None:
        spread = total(entropy)
        loss = loss - options.entropy_coefficient * spread
        measures["entropy"] = float(spread.detach())
    if batch.reference is not None and options.kl_coefficient:
        divergence = total(k3(log_probs, batch.reference[rows, columns].to(device), mask))
        loss = loss + options.kl_coefficient * divergence
        measures["kl"] = float(divergence.detach())
    with torch.no_grad():
        ratio = log_ratio(log_probs, old, mask, options.surrogate).exp()
        clipped = clipped_share(ratio, advantages, options.clip_low, options.clip_high).expand_as(mask) & mask
        measures["clipped_share"] = float(clipped.sum()) / max(totals.tokens, 1)
    return loss, measures | {"loss": float(loss.detach())}


def log_ratio(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, completion_mask: torch.Tensor, surrogate: Surrogate
) -> torch.Tensor:
    """Logarithm of the probability ratio that an objective is about.

    Args:
        log_probs: (N, T) under the policy that is trained.
        old_log_probs: (N, T) under the policy that drew the tokens.
        completion_mask: (N, T) bool, True where the policy drew the token.
        surrogate: `gspo` takes the mean over a reply's tokens (arXiv 2507.18071, Eq. 7), the others each token's.

    Returns:
        (N, T), or (N, 1) for `gspo`; 0 where no token was drawn.
    """
    # Where no token was drawn the difference is meaningless and might overflow; 0 · inf is NaN.
    difference = torch.where(completion_mask, log_probs - old_log_probs, 0.0)
    if surrogate == "gspo":
        return difference.sum(1, keepdim=True) / completion_mask.sum(1, keepdim=True).clamp(min=1)
    return difference


def token_surrogate(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    completion_mask: torch.Tensor,
    advantages: torch.Tensor,
    *,
    surrogate: Surrogate = "ppo",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> torch.Tensor:
    """What each token adds to the objective, which is to be made large.

    Sources: `ppo` arXiv 1707.06347, Eq. 7, with the two bounds of DAPO, arXiv 2503.14476, Eq. 10; `gspo`
    arXiv 2507.18071, Eq. 5; `cispo` arXiv 2506.13585, Eq. 4 (the ratio is a constant weight there).

    Args:
        log_probs: (N, T) under the policy that is trained.
        old_log_probs: (N, T) under the policy that drew the tokens.
        completion_mask: (N, T) bool.
        advantages: (N,).
        surrogate: Which objective.
        clip_low: The ratio counts down to 1 − clip_low.
        clip_high: The ratio counts up to 1 + clip_high.

    Returns:
        (N, T); meaningless where no token was drawn.
    """
    ratio = log_ratio(log_probs, old_log_probs, completion_mask, surrogate).exp()
    advantage = advantages[:, None].to(ratio.dtype)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    if surrogate == "cispo":
        return clipped.detach() * advantage * torch.where(completion_mask, log_probs, 0.0)
    return torch.minimum(ratio * advantage, clipped * advantage).expand_as(log_probs)


def clipped_share(ratio: torch.Tensor, advantages: torch.Tensor, clip_low: float, clip_high: float) -> torch.Tensor:
    """Where the bound stops the gradient: bool, of the ratio's shape (N, T) or (N, 1)."""
    advantage = advantages[:, None]
    return ((advantage > 0) & (ratio > 1 + clip_high)) | ((advantage < 0) & (ratio < 1 - clip_low))


def k3(log_probs: torch.Tensor, reference_log_probs: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
    """An estimate of each token's divergence from the reference policy: unbiased and never negative.

    Source: http://joschu.net/blog/kl-approx.html, k3 = (q/p − 1) − log(q/p) with q the reference.

    Returns:
        (N, T), 0 where no token was drawn.
    """
    difference = torch.where(completion_mask, reference_log_probs - log_probs, 0.0)
    return difference.exp() - 1 - difference


def aggregate(
    tokens: torch.Tensor, completion_mask: torch.Tensor, totals: Totals, aggregation: Aggregation, max_new_tokens: int
) -> torch.Tensor:
    """Add up what tokens contribute.

    The parts of a minibatch add up to the whole: each is divided by the whole's sizes.

    Args:
        tokens: (N, T).
        completion_mask: (N, T) bool, what counts.
        totals: Sizes of the whole minibatch.
        aggregation: See `TrainingOptions.aggregation`.
        max_new_tokens: The longest reply that there could be, for `constant`.

    Returns:
        A scalar.
    """
    sums = torch.where(completion_mask, tokens, 0.0).sum(1)
    if aggregation == "sequence_mean":
        return (sums / completion_mask.sum(1).clamp(min=1)).sum() / totals.replies
    if aggregation == "token_mean":
        return sums.sum() / max(totals.tokens, 1)
    return sums.sum() / (totals.replies * max_new_tokens)
