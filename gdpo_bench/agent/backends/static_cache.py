"""Keys and values that stay where they are in memory, so that a step of decoding can be recorded and replayed.

Buffers are made for the largest batch; a step sees a window of them, whose sizes come in few steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from gdpo_bench.agent.language_model import CausalLM


def has_plain_cache(model: CausalLM) -> bool:
    """Whether its layers attend to all that came before, by torch's attention, through keys and values alone."""
    config = model.config.get_text_config()
    layers = DynamicCache(config=config).layers
    plain = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
    return plain and getattr(config, "_attn_implementation", None) == "sdpa"


def bucket(count: int, least: int, most: int) -> int:
    """The smallest of least, 2·least, 4·least, … and `most` that holds so many."""
    size = least
    while size < count:
        size *= 2
    return min(size, most)


class StaticLayer(DynamicLayer):
    """Keys and values of one layer, for R rows of L positions."""

    def __init__(self, like: Any, rows: int, length: int, slot: torch.Tensor, dtype: torch.dtype | None) -> None:
        """Allocate.

        Args:
            like: The layer in a cache of any size.
            rows: R.
            length: L.
            slot: (1,) position that is written next.
            dtype: Of keys and values; by default theirs.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(like.keys, like.values)
        self._slot = slot
        # Zeros, since a masked position counts 0 times its value, which is NaN where that is.
        self._all_keys, self._all_values = (
            torch.zeros(rows, one.shape[1], length, one.shape[3], dtype=dtype or one.dtype, device=one.device)
            for one in (like.keys, like.values)
        )
        self.show(rows, length)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self._all_keys.nbytes + self._all_values.nbytes

    def show(self, rows: int, length: int) -> None:
        """Let the model see the first rows and positions."""
        self.keys, self.values = self._all_keys[:rows, :, :length], self._all_values[:rows, :, :length]

    def fill(self, prefilled: Any, n: int) -> None:
        """Take over P prompts, each for n rows."""
        for mine, theirs in ((self._all_keys, prefilled.keys), (self._all_values, prefilled.values)):
            mine[: len(theirs) * n, :, : theirs.shape[2]] = theirs.repeat_interleave(n, 0)

    def keep(self, rows: torch.Tensor, length: int) -> None:
        """Move rows, by their numbers, to the front, so many positions of each."""
        for one in (self._all_keys, self._all_values):
            one[: len(rows), :, :length] = one[rows, :, :length]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the newest position; returns all that is seen."""
        keys, values = self.keys, self.values
        assert keys is not None
        assert values is not None
        keys.index_copy_(2, self._slot, key_states.to(keys.dtype))
        values.index_copy_(2, self._slot, value_states.to(values.dtype))
        return keys, values


def static_cache(layers: Sequence[StaticLayer]) -> DynamicCache:
    """A cache of these layers."""
    cache, own = DynamicCache(), list[Any](layers)
    cache.layers = own
    return cache
