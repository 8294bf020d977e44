"""Rollouts on a GPU: a whole step of decoding, sampling included, is one launch.

Small kernels take longer to launch than to run. So a step works on tensors that stay where they are, is recorded once
for each shape, and replayed (`graphs`). Shapes come in few sizes: rows and the filled part of the cache are rounded
up to powers of two, and finished rows are dropped where fewer hold the others. What is random is drawn beforehand by
the run's own generator, for each row its own, so that neither records nor dropped rows change what a seed means.

Models that attend otherwise than to all that came before, and those spread over several processes, are left to
`TransformersBackend`; those that cannot be recorded are called step by step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache, partial

import torch

from gdpo_bench.agent.backends.graphs import Recorder, RecordingError, Step, total_memory
from gdpo_bench.agent.backends.protocol import Sampling
from gdpo_bench.agent.backends.static_cache import StaticLayer, bucket, has_plain_cache, static_cache
from gdpo_bench.agent.backends.transformers import (
    Prefilled,
    TransformersBackend,
    is_any_of,
    is_sharded,
    noise_for,
    pick,
)
from gdpo_bench.agent.language_model import CausalLM
from gdpo_bench.agent.policy import Policy

Record = Callable[[Step, Step], Step]
"""As `graphs.Recorder`."""
_TOGETHER = 8
"""Tokens between two looks at what is finished, which wait for the GPU."""
_ROWS, _LENGTH = 8, 128
"""The smallest sizes; capacities are multiples of them."""


def backend_for(policy: Policy) -> TransformersBackend:
    """What draws in this process: by recorded steps on a GPU, else by calls of the model."""
    device = policy.model.device
    if device.type != "cuda":
        return TransformersBackend(policy)
    return StaticBackend(policy, Recorder, total_memory(device) // 8)


class StaticBackend(TransformersBackend):
    """Samples from a transformers model in this process, in memory that is kept from step to step."""

    def __init__(self, policy: Policy, recorder: Callable[[], Record], kept_bytes: float = math.inf) -> None:
        """Sample from a policy; see `TransformersBackend`.

        Args:
            policy: The policy.
            recorder: Makes what records steps.
            kept_bytes: Larger caches are freed for the update.
        """
        super().__init__(policy)
        self._recorder, self._kept_bytes = recorder, kept_bytes
        self._decoders: dict[Sampling, StaticDecoder] = {}

    def _decode(
        self, prefilled: Prefilled, n: int, sampling: Sampling, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        model = self._model
        if is_sharded(model) or not has_plain_cache(model):
            return super()._decode(prefilled, n, sampling, rng)
        try:
            return self._decoder(model, prefilled, n, sampling).decode(prefilled, n, rng)
        except torch.OutOfMemoryError:
            self._decoders.clear()
            raise

    def _decoder(self, model: CausalLM, prefilled: Prefilled, n: int, sampling: Sampling) -> StaticDecoder:
        rows, length = len(prefilled.logits) * n, prefilled.attended.shape[1] + sampling.max_new_tokens
        held = self._decoders.get(sampling)
        if held and held.rows >= rows and held.length >= length:
            return held
        if held:
            rows, length = max(rows, held.rows), max(length, held.length)
        held = None
        self._decoders.pop(sampling, None)  # free before the larger one is allocated
        policy, record = self._policy, self._recorder()
        decoder = StaticDecoder(policy, model, sampling, prefilled, rows=rows, length=length, record=record)
        return self._decoders.setdefault(sampling, decoder)

    def sleep(self) -> None:
        """Free large caches; small ones stay, with the steps that are recorded on them."""
        if sum(decoder.bytes for decoder in self._decoders.values()) > self._kept_bytes:
            self._decoders.clear()

    def close(self) -> None:
        """Free the caches."""
        self._decoders.clear()


class StaticDecoder:
    """Draws up to R completions side by side, in L positions for prompt and completion together."""

    def __init__(
        self,
        policy: Policy,
        model: CausalLM,
        sampling: Sampling,
        like: Prefilled,
        *,
        rows: int,
        length: int,
        record: Record,
    ) -> None:
        """Allocate.

        Args:
            policy: Says how a model is called, and what ends a completion.
            model: What is called; its weights stay where they are.
            sampling: How to draw.
            like: Prompts that it has read, of any size.
            rows: R, rounded up.
            length: L, rounded up.
            record: Records steps.
        """
        self.rows, self.length = -(-rows // _ROWS) * _ROWS, -(-length // _LENGTH) * _LENGTH
        self._model, self._sampling, self._record = model, sampling, record
        self._ends, self._mixed, self._device = policy.end_tokens, policy.mixed_precision, like.logits.device
        self._steps: dict[tuple[int, int], Step] = {}
        allocated = partial(torch.zeros, device=self._device)
        self._slot = allocated(1, dtype=torch.long)
        """(1,) position of the cache that is written next."""
        self._token = allocated(self.rows, 1, dtype=torch.long)
        self._position = allocated(self.rows, 1, dtype=torch.long)
        self._mask = allocated(self.rows, 1, 1, self.length, dtype=torch.bool)
        self._done = allocated(self.rows, dtype=torch.bool)
        self._at = allocated(1, dtype=torch.long)
        """(1,) which of the tokens between two looks is drawn next."""
        self._noise = allocated(_TOGETHER, self.rows, 1)
        self._tokens = allocated(_TOGETHER, self.rows, dtype=torch.long)
        self._log_probs = allocated(_TOGETHER, self.rows)
        dtype = torch.bfloat16 if self._mixed else None  # in which autocast attends, whatever the keys were
        self._layers = [StaticLayer(layer, self.rows, self.length, self._slot, dtype) for layer in like.cache.layers]
        self._cache = static_cache(self._layers)

    @property
    def bytes(self) -> int:
        """Memory that the cache takes."""
        return sum(layer.bytes for layer in self._layers)

    def decode(self, prefilled: Prefilled, n: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw n completions of each of P prompts.

        Returns:
            Tokens (P·n, T) and their log-probabilities (P·n, T) on the CPU; anything behind the first end token.
        """
        count, width, steps = len(prefilled.logits) * n, prefilled.attended.shape[1], self._sampling.max_new_tokens
        tokens, log_probs = torch.full((count, steps), self._ends[0]), torch.zeros(count, steps)
        rows, last = torch.arange(count), 0
        self._begin(prefilled, n)
        while last < steps:
            first, last = last, min(last + _TOGETHER, steps)
            noise = noise_for((last - first, count), self._sampling, rng)[:, rows.to(rng.device)]
            self._noise[: last - first, : len(rows), 0] = noise.to(self._device)
            self._at.zero_()
            for number in range(first, last):
                if number:
                    self._step(len(rows), width + number)()
                else:
                    self._draw(prefilled.logits.repeat_interleave(n, 0).float())
            tokens[rows, first:last] = self._tokens[: last - first, : len(rows)].T.cpu()
            log_probs[rows, first:last] = self._log_probs[: last - first, : len(rows)].T.cpu()
            live = (~self._done[: len(rows)].cpu()).nonzero().squeeze(1)
            if not len(live):
                break
            if self._rows_for(len(live)) < self._rows_for(len(rows)):
                rows = rows[live]
                self._keep(live.to(self._device), width + last)
        return tokens[:, :last], log_probs[:, :last]

    def _begin(self, prefilled: Prefilled, n: int) -> None:
        count, width = len(prefilled.logits) * n, prefilled.attended.shape[1]
        for layer, source in zip(self._layers, prefilled.cache.layers, strict=True):
            layer.fill(source, n)
        self._slot.fill_(width)
        self._mask.zero_()
        self._mask[:count, 0, 0, :width] = prefilled.attended.repeat_interleave(n, 0)
        self._position.zero_()
        self._position[:count] = prefilled.position.repeat_interleave(n, 0)
        self._done[:count] = False
        self._done[count:] = True

    def _rows_for(self, count: int) -> int:
        return bucket(count, _ROWS, self.rows)

    def _step(self, count: int, filled: int) -> Step:
        """The step that reads a token a row and draws the next, recorded at its first use.

        Args:
            count: Rows.
            filled: Positions of the cache, once the step is done.
        """
        shape = self._rows_for(count), bucket(filled, _LENGTH, self.length)
        if shape not in self._steps:
            step = partial(self._advance, *shape)
            try:
                self._steps[shape] = self._record(step, partial(self._rehearse, step))
            except RecordingError as error:
                _warn_of_calls(type(self._model).__name__, str(error))
                self._record = _call
                self._steps[shape] = step
        return self._steps[shape]

    def _advance(self, rows: int, length: int) -> None:
        for layer in self._layers:
            layer.show(rows, length)
        self._position.add_(1)
        self._mask.index_fill_(3, self._slot, True)
        # Weights that autocast rounds may not be cached: a record would keep them as they are now.
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed, cache_enabled=False):
            logits = self._model(
                input_ids=self._token[:rows],
                attention_mask=self._mask[:rows, ..., :length],
                position_ids=self._position[:rows],
                past_key_values=self._cache,
            ).logits[:, -1]
        self._slot.add_(1)
        self._draw(logits.float())

    def _draw(self, logits: torch.Tensor) -> None:
        rows = len(logits)
        token, log_prob = pick(logits, self._sampling, self._noise[:, :rows].index_select(0, self._at)[0])
        token = token.masked_fill(self._done[:rows], self._ends[0])
        self._tokens[:, :rows].index_copy_(0, self._at, token[None])
        self._log_probs[:, :rows].index_copy_(0, self._at, log_prob[None])
        self._done[:rows].logical_or_(is_any_of(token, self._ends))
        self._token[:rows].copy_(token[:, None])
        self._at.add_(1)

    def _rehearse(self, step: Step) -> None:
        """Take a step, and take it back but for what the next one overwrites."""
        changed = (self._slot, self._token, self._position, self._mask, self._done, self._at)
        before = [tensor.clone() for tensor in changed]
        step()
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)

    def _keep(self, rows: torch.Tensor, filled: int) -> None:
        """Move rows, by their numbers, to the front; those behind are finished."""
        for layer in self._layers:
            layer.keep(rows, filled)
        for tensor in (self._token, self._position, self._mask):
            tensor[: len(rows)] = tensor[rows]
        self._done[: len(rows)] = False
        self._done[len(rows) :] = True


def _call(step: Step, rehearse: Step) -> Step:
    """In place of a record."""
    return step


@cache
def _warn_of_calls(model: str, reason: str) -> None:
    warnings.warn(f"{model} cannot be recorded as a CUDA graph and is called step by step: {reason}", stacklevel=2)
