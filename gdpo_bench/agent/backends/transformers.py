"""Rollout backends: from prompts to sampled completions with their log-probabilities.

The transformers backend departs from `model.generate` in five points, which make it about twice as
fast on the embedded policy (`docs/performance.md`): a prompt is prefilled once and its
cache repeated for the group; the cache is allocated once instead of grown by copying; attention
masks are sliced from one that is made beforehand; tokens are drawn by inverting the cumulative
distribution, since `torch.multinomial` takes as long as half the model; and whenever half of the
completions are finished, they are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers.cache_utils import DynamicCache, DynamicLayer

from gdpo_bench.agent.backends.protocol import Completion, Sampling
from gdpo_bench.agent.backends.rounded import round_again, rounded
from gdpo_bench.agent.errors import OutOfMemoryError
from gdpo_bench.agent.language_model import CausalLM
from gdpo_bench.agent.policy import Policy


@dataclass(frozen=True)
class Prefilled:
    """P prompts that a model has read, padded on the left."""

    cache: DynamicCache
    logits: torch.Tensor
    """(P, V) of the token that follows."""
    attended: torch.Tensor
    """(P, width) bool, False where a prompt is padded."""
    position: torch.Tensor
    """(P, 1) of the last token."""


class _PreallocatedLayer(DynamicLayer):
    """One layer's keys and values in memory for the whole completion, written in place."""

    def __init__(self, prefilled: Any, n: int, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(prefilled.keys, prefilled.values)
        self._length = prefilled.keys.shape[2]
        self._keys = self._allocate(prefilled.keys, n, room)
        self._values = self._allocate(prefilled.values, n, room)
        self._show()

    def _allocate(self, prefilled: torch.Tensor, n: int, room: int) -> torch.Tensor:
        prompts, heads, length, width = prefilled.shape
        buffer = prefilled.new_empty(prompts * n, heads, length + room, width)
        buffer[:, :, :length] = prefilled.repeat_interleave(n, 0)
        return buffer

    def keep(self, rows: torch.Tensor) -> None:
        """Forget the other rows; a mask."""
        self._keys, self._values = self._keys[rows], self._values[rows]
        self._show()

    def _show(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = keys, values = self._keys[:, :, : self._length], self._values[:, :, : self._length]
        return keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the newest position; returns all keys and values so far."""
        end = self._length + key_states.shape[2]
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        return self._show()


class TransformersBackend:
    """Samples from a transformers model in this process."""

    exact = True

    def __init__(self, policy: Policy) -> None:
        """Sample from a policy; under mixed precision its weights are those of the last `update_weights`.

        Args:
            policy: The policy.
        """
        self._policy = policy
        self._rounded: CausalLM | None = None
        self._prompts: int | None = None
        """Prompts that fit into memory at once, known after it ran out; None before."""

    def generate(
        self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, rng: torch.Generator
    ) -> list[Completion]:
        """Draw n completions of each prompt; see `RolloutBackend.generate`.

        Raises:
            OutOfMemoryError: Not even one prompt's completions fit into memory.
        """
        completions: list[Completion] = []
        while len(completions) < len(prompts) * n:
            start = len(completions) // n
            part = prompts[start : start + (self._prompts or len(prompts))]
            try:
                with self._policy.precision():
                    completions += self._generate(part, n, sampling, rng)
                continue
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise OutOfMemoryError(
                        f"{n} completions of one prompt do not fit into memory; choose a smaller group_size or "
                        "max_new_tokens, or a smaller policy."
                    ) from error
            self._prompts = len(part) // 2
            torch.cuda.empty_cache()  # outside of the handler, whose traceback still holds the cache
        return completions

    @torch.inference_mode()
    def _generate(
        self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, rng: torch.Generator
    ) -> list[Completion]:
        self._policy.model.eval()
        tokens, log_probs = self._decode(self._prefill(prompts), n, sampling, rng)
        return _completions(tokens.tolist(), log_probs.tolist(), self._policy.end_tokens)

    @property
    def _model(self) -> CausalLM:
        """What draws; several processes change the weights' places with each update, so these are not copied."""
        model = self._policy.model
        if not self._policy.mixed_precision or is_sharded(model):
            return model
        self._rounded = self._rounded or rounded(model)
        return self._rounded

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> Prefilled:
        ids, attended = _left_padded(prompts, self._policy.model.device)
        positions = (attended.long().cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache()
        output = self._model(
            input_ids=ids,
            attention_mask=attended.long(),
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        )
        return Prefilled(cache, output.logits[:, -1], attended, positions[:, -1:])

    def _decode(
        self, prefilled: Prefilled, n: int, sampling: Sampling, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (P·n, T) and their log-probabilities (P·n, T); anything behind the first end token."""
        model, ends, cache = self._model, self._policy.end_tokens, prefilled.cache
        width, rollouts, steps = prefilled.attended.shape[1], len(prefilled.logits) * n, sampling.max_new_tokens
        layers: list[Any] = [_PreallocatedLayer(layer, n, steps) for layer in cache.layers]
        cache.layers = layers
        logits = prefilled.logits.repeat_interleave(n, 0)
        position = prefilled.position.repeat_interleave(n, 0)
        mask = F.pad(prefilled.attended.repeat_interleave(n, 0), (0, steps), value=True)[:, None, None]

        tokens = torch.full((rollouts, steps), ends[0], device=model.device)
        log_probs = torch.zeros(rollouts, steps, device=model.device)
        rows = torch.arange(rollouts, device=model.device)
        done = torch.zeros(rollouts, dtype=torch.bool, device=model.device)
        for step in range(steps):
            token, log_prob = _sample(logits.float(), sampling, rng)
            token = token.where(~done, ends[0])
            tokens[rows, step], log_probs[rows, step] = token, log_prob
            done |= is_any_of(token, ends)
            left = len(done) - int(done.sum())
            if step == steps - 1 or not left:
                break
            if left <= len(done) // 2:  # what is finished is dropped, but not one by one: that copies the cache
                live = ~done
                rows, token, position, mask, done = rows[live], token[live], position[live], mask[live], done[live]
                for layer in layers:
                    layer.keep(live)
            position = position + 1
            logits = model(
                input_ids=token[:, None],
                attention_mask=mask[..., : width + step + 1],
                position_ids=position,
                past_key_values=cache,
            ).logits[:, -1]
        return tokens[:, : step + 1], log_probs[:, : step + 1]

    def sleep(self) -> None:
        """Nothing to free: the model is the trainer's."""

    def update_weights(self, policy: Policy) -> None:
        """Round the weights again under mixed precision; otherwise the model that is trained is the one that draws."""
        if self._rounded:
            round_again(self._rounded, self._policy.model)

    def close(self) -> None:
        """Nothing to do."""


def is_sharded(model: CausalLM) -> bool:
    """Whether FSDP2 spreads its weights over several processes."""
    return hasattr(model, "unshard")


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (P, width) and which of them are real (P, width)."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    attended = torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        attended[row, width - len(prompt) :] = True
    return ids.to(device), attended.to(device)


def is_any_of(token: torch.Tensor, ends: Sequence[int]) -> torch.Tensor:
    """Which tokens (N,) end a completion."""
    found = token == ends[0]
    for end in ends[1:]:
        found |= token == end
    return found


def _sample(logits: torch.Tensor, sampling: Sampling, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row (N,) and its log-probability (N,)."""
    return pick(logits, sampling, noise_for((len(logits), 1), sampling, rng).to(logits.device))


def noise_for(shape: tuple[int, int], sampling: Sampling, rng: torch.Generator) -> torch.Tensor:
    """Numbers in [0, 1), drawn where the generator lives, so that a seed means the same on every device."""
    if sampling.temperature == 0:
        return torch.zeros(shape, device=rng.device)
    return torch.rand(shape, generator=rng, device=rng.device)


def pick(logits: torch.Tensor, sampling: Sampling, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens (N,) where noise (N, 1) falls in the distributions with logits (N, V), and their log-probabilities."""
    if sampling.temperature == 0:
        log_probs = F.log_softmax(logits, -1)
        token = log_probs.argmax(-1)
    else:
        log_probs = _truncated(F.log_softmax(logits / sampling.temperature, -1), sampling)
        cumulative = log_probs.exp().cumsum(-1)
        drawn = noise * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, drawn, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)
    return token, log_probs.gather(1, token[:, None]).squeeze(1)


def _truncated(log_probs: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """What is left of a distribution (N, V), in vLLM's order."""
    if sampling.min_p > 0:
        least = log_probs.max(-1, keepdim=True).values + math.log(sampling.min_p)
        log_probs = F.log_softmax(log_probs.masked_fill(log_probs < least, -torch.inf), -1)
    if sampling.top_k > 0:
        least = log_probs.topk(min(sampling.top_k, log_probs.shape[-1]), -1).values[:, -1:]
        log_probs = F.log_softmax(log_probs.masked_fill(log_probs < least, -torch.inf), -1)
    if sampling.top_p < 1:
        log_probs = F.log_softmax(_nucleus(log_probs, sampling.top_p), -1)
    return log_probs


def _nucleus(log_probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """The likeliest tokens whose probabilities reach top_p together; all others at −∞ (arXiv 1904.09751)."""
    ordered, order = log_probs.sort(-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()
    return log_probs.masked_fill((before >= top_p).gather(1, order.argsort(-1)), -torch.inf)


def _completions(tokens: list[list[int]], log_probs: list[list[float]], ends: Sequence[int]) -> list[Completion]:
    completions = []
    for row, row_log_probs in zip(tokens, log_probs, strict=True):
        end = next((i for i, token in enumerate(row) if token in ends), None)
        length = len(row) if end is None else end + 1
        completions.append(Completion(row[:length], row_log_probs[:length], "length" if end is None else "stop"))
    return completions
