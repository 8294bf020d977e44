"""The weights that a sampler is sent, and the proof that it has them.

A sampler with wrong weights fails silently: its completions still look like text, and only their
log-probabilities are off. So a probe compares those of fixed token sequences under both models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from gdpo_bench.agent.language_model import has_adapters
from gdpo_bench.agent.policy import Policy, log_probs_of
from gdpo_bench.core import GdpoBenchError

PROBE_TOLERANCE = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
"""Mean absolute differences of log-probabilities that rounding explains, by the sampler's dtype. Between vLLM on a CPU
and the embedded policy in float32 there are 1e-6, 0.002 and 0.015; deeper models and GPUs round more."""
_SEED = 20


class WeightSyncError(GdpoBenchError, RuntimeError):
    """The sampler's model is not the trainer's."""


def probe_sequences(vocabulary: int, count: int = 4, length: int = 32) -> list[list[int]]:
    """Token sequences (count, length) drawn evenly from the whole vocabulary, always the same."""
    rng = torch.Generator().manual_seed(_SEED)
    sequences: list[list[int]] = torch.randint(vocabulary, (count, length), generator=rng).tolist()
    return sequences


def whole_weights(policy: Policy) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of the weights as a checkpoint of the whole model holds them, adapters merged in."""
    if not has_adapters(policy.model):
        yield from policy.model.state_dict().items()
        return
    base = policy.model.get_base_model()
    # Not merged in place: taking an adapter out again leaves rounding behind in half precision.
    modules: Iterator[tuple[str, Any]] = base.named_modules()
    deltas = {
        f"{name}.base_layer.weight": module.get_delta_weight(adapter)
        for name, module in modules
        if hasattr(module, "get_delta_weight")
        for adapter in module.active_adapters
    }
    for name, value in base.state_dict().items():
        if "lora_" not in name:
            yield name.replace(".base_layer", ""), value + deltas[name] if name in deltas else value


@torch.inference_mode()
def trainer_log_probs(policy: Policy, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-probabilities (count, length − 1) of sequences of one length under the trainer's model."""
    model = policy.model
    training = model.training
    model.eval()
    token_ids = torch.tensor(sequences, device=model.device)
    log_probs = log_probs_of(token_ids[:, 1:], model(input_ids=token_ids, use_cache=False).logits[:, :-1])
    model.train(training)
    return log_probs.cpu()


def check_sync(sampler: torch.Tensor, trainer: torch.Tensor, tolerance: float) -> None:
    """Stop where the sampler's log-probabilities are not the trainer's.

    Args:
        sampler: Of the probe sequences.
        trainer: The same shape.
        tolerance: Mean absolute difference allowed.

    Raises:
        WeightSyncError: They differ by more, or are not numbers.
    """
    difference = (sampler - trainer).abs()
    mean = float(difference.mean())
    if not mean <= tolerance:  # also where it is NaN
        raise WeightSyncError(
            f"After the weights were sent, log-probabilities of sampler and trainer differ by {mean:.2g} on average "
            f"({float(difference.max()):.2g} at most), where rounding explains {tolerance:g}: the sampler did not take "
            "over all weights of this kind of model. Use the transformers backend, or raise probe_tolerance if the two "
            "compute in different precision."
        )
