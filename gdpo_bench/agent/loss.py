"""The clipped policy-gradient loss, as pure functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def token_log_probs(logits: torch.Tensor, token_ids: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability of each token given those before it.

    Args:
        logits: (N, L, V) of a causal model over `token_ids`.
        token_ids: (N, L).
        temperature: Of the sampling that drew the tokens.

    Returns:
        (N, L − 1); column t belongs to token t + 1.
    """
    log_probs = F.log_softmax(logits[:, :-1].float() / temperature, -1)
    return log_probs.gather(-1, token_ids[:, 1:, None]).squeeze(-1)


def clipped_loss(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, drawn: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """PPO's clipped surrogate, averaged over each reply's tokens and then over replies.

    Source: arXiv 1707.06347, Eq. 7; the mean over sequences of GRPO, arXiv 2402.03300, Eq. 3.

    Args:
        log_probs: (N, T) under the policy that is trained.
        old_log_probs: (N, T) under the policy that drew the tokens.
        drawn: (N, T) bool, True where the policy drew the token.
        advantages: (N,).
        clip: Bound on the probability ratio.

    Returns:
        The scalar loss.
    """
    # Where no token was drawn the difference is meaningless and might overflow; 0 · inf is NaN.
    ratio = torch.where(drawn, log_probs - old_log_probs, 0.0).exp()
    gain = advantages[:, None].to(ratio.dtype)
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    tokens = drawn.sum(1).clamp(min=1)
    return -((surrogate * drawn).sum(1) / tokens).mean()
