"""The policy-gradient objectives, as pure functions of tensors.

A loss is put together from three choices: what a token gains (`ppo`, `gspo`, `cispo`), the divergence from a
reference policy (`k3`), and how tokens are added up (`aggregate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

Surrogate = Literal["ppo", "gspo", "cispo"]
Aggregation = Literal["sequence_mean", "token_mean", "constant"]


@dataclass(frozen=True)
class Totals:
    """What a sum is divided by: the sizes of the whole minibatch, of which a process may see only a part."""

    replies: int
    tokens: int


def token_log_probs(logits: torch.Tensor, token_ids: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability of each token given those before it.

    Args:
        logits: (N, L, V) of a causal model over `token_ids`.
        token_ids: (N, L).
        temperature: Of the sampling that drew the tokens.

    Returns:
        (N, L − 1); column t belongs to token t + 1.
    """
    return log_probs_of(token_ids[:, 1:], logits[:, :-1], temperature)


def log_probs_of(tokens: torch.Tensor, logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability (N, T) of each token, in float32.

    Args:
        tokens: (N, T).
        logits: (N, T, V), of the position before each token.
        temperature: Of the sampling that drew the tokens.
    """
    scaled = logits.float() if temperature == 1 else logits.float() / temperature
    # Not log_softmax and gather, which would hold (N, T, V) once more and takes nearly twice as long.
    return -F.cross_entropy(scaled.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)


def log_ratio(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, drawn: torch.Tensor, surrogate: Surrogate
) -> torch.Tensor:
    """Logarithm of the probability ratio that an objective is about.

    Args:
        log_probs: (N, T) under the policy that is trained.
        old_log_probs: (N, T) under the policy that drew the tokens.
        drawn: (N, T) bool, True where the policy drew the token.
        surrogate: `gspo` takes the mean over a reply's tokens (arXiv 2507.18071, Eq. 7), the others each token's.

    Returns:
        (N, T), or (N, 1) for `gspo`; 0 where no token was drawn.
    """
    # Where no token was drawn the difference is meaningless and might overflow; 0 · inf is NaN.
    difference = torch.where(drawn, log_probs - old_log_probs, 0.0)
    if surrogate == "gspo":
        return difference.sum(1, keepdim=True) / drawn.sum(1, keepdim=True).clamp(min=1)
    return difference


def token_gains(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    drawn: torch.Tensor,
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
        drawn: (N, T) bool.
        advantages: (N,).
        surrogate: Which objective.
        clip_low: The ratio counts down to 1 − clip_low.
        clip_high: The ratio counts up to 1 + clip_high.

    Returns:
        (N, T); meaningless where no token was drawn.
    """
    ratio = log_ratio(log_probs, old_log_probs, drawn, surrogate).exp()
    gain = advantages[:, None].to(ratio.dtype)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    if surrogate == "cispo":
        return clipped.detach() * gain * torch.where(drawn, log_probs, 0.0)
    return torch.minimum(ratio * gain, clipped * gain).expand_as(log_probs)


def clipped_share(ratio: torch.Tensor, advantages: torch.Tensor, clip_low: float, clip_high: float) -> torch.Tensor:
    """Where the bound stops the gradient: bool, of the ratio's shape (N, T) or (N, 1)."""
    gain = advantages[:, None]
    return ((gain > 0) & (ratio > 1 + clip_high)) | ((gain < 0) & (ratio < 1 - clip_low))


def k3(log_probs: torch.Tensor, reference_log_probs: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """An estimate of each token's divergence from the reference policy: unbiased and never negative.

    Source: http://joschu.net/blog/kl-approx.html, k3 = (q/p − 1) − log(q/p) with q the reference.

    Returns:
        (N, T), 0 where no token was drawn.
    """
    difference = torch.where(drawn, reference_log_probs - log_probs, 0.0)
    return difference.exp() - 1 - difference


def aggregate(
    tokens: torch.Tensor, drawn: torch.Tensor, totals: Totals, aggregation: Aggregation, max_new_tokens: int
) -> torch.Tensor:
    """Add up what tokens contribute.

    The parts of a minibatch add up to the whole: each is divided by the whole's sizes.

    Args:
        tokens: (N, T).
        drawn: (N, T) bool, what counts.
        totals: Sizes of the whole minibatch.
        aggregation: See `TrainingOptions.aggregation`.
        max_new_tokens: The longest reply that there could be, for `constant`.

    Returns:
        A scalar.
    """
    sums = torch.where(drawn, tokens, 0.0).sum(1)
    if aggregation == "sequence_mean":
        return (sums / drawn.sum(1).clamp(min=1)).sum() / totals.replies
    if aggregation == "token_mean":
        return sums.sum() / max(totals.tokens, 1)
    return sums.sum() / (totals.replies * max_new_tokens)
