"""A model's weights as the optimizer sees them, all in this process; `scale.sharding` spreads them over several."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gdpo_bench.agent.language_model import CausalLM


class Weights:
    """The weights of a model in one process."""

    def __init__(self, model: CausalLM) -> None:
        """Take a model as it is.

        Args:
            model: A transformers model, perhaps with adapters.
        """
        self.model = model
        self.trained = [weights for weights in model.parameters() if weights.requires_grad]
        """What the optimizer changes."""

    def named(self) -> dict[str, torch.Tensor]:
        """The whole weights that are trained, by name, each once where two names share one."""
        return {name: value.data for name, value in self.model.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def assign(self, value_of: Callable[[str], torch.Tensor]) -> None:
        """Overwrite the weights that are trained with whole values by name."""
        for name, weights in self.named().items():
            weights.copy_(value_of(name))

    def reduce_gradients(self) -> None:
        """Add up the processes' gradients, for the optimizer to step."""

    def renew(self) -> None:
        """Compute with the weights that the optimizer made."""

    def discard_gradients(self) -> None:
        """Forget the gradients of passes of which one failed."""
        self.model.zero_grad(set_to_none=True)

    def whole(self, value: torch.Tensor) -> torch.Tensor:
        """All of a tensor of the optimizer."""
        return value

    def spread(self, value: torch.Tensor, number: int) -> torch.Tensor:
        """A whole tensor laid out like the optimizer's weights of that number."""
        return value
