"""What draws completions, whatever engine it is: `RolloutBackend`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from gdpo_bench.agent.policy import Policy


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn."""

    max_new_tokens: int
    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that hold this probability together."""
    top_k: int = 0
    """Draw from so many of the likeliest tokens; 0: from all."""
    min_p: float = 0.0
    """Draw from tokens that are at least this share as likely as the likeliest."""


@dataclass(frozen=True)
class Completion:
    """One sampled continuation of a prompt."""

    token_ids: list[int]
    """T tokens, that which ended it included."""
    log_probs: list[float]
    """Log-probability of each token when it was drawn, under the distribution that it was drawn from."""
    finish_reason: Literal["stop", "length"]
    """Whether an end token came, or the limit on tokens."""


class RolloutBackend(Protocol):
    """Draws completions from the current policy."""

    exact: bool
    """Whether its log-probabilities are the trained model's to rounding; otherwise the trainer computes its own."""

    def generate(
        self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, rng: torch.Generator
    ) -> list[Completion]:
        """Draw n completions of each prompt.

        Args:
            prompts: P prompts as token ids.
            n: Completions a prompt.
            sampling: How to draw.
            rng: Source of randomness.

        Returns:
            P·n completions, those of a prompt adjacent.
        """

    def sleep(self) -> None:
        """Make room for the update, if there is anything to free; called before every training step."""

    def update_weights(self, policy: Policy) -> None:
        """Draw from these weights from now on; called after every training step."""

    def close(self) -> None:
        """Free what it holds."""
