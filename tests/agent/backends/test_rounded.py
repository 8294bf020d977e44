from dataclasses import replace

import torch

from gdpo_bench.agent.backends.decoding import StaticBackend
from gdpo_bench.agent.backends.protocol import Completion, Sampling
from gdpo_bench.agent.backends.rounded import rounded
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.policy import Policy

PROMPTS = [[5, 6, 7], [9], [20, 21, 22, 23, 24, 25, 26]]


def drawn(backend: TransformersBackend) -> list[Completion]:
    return backend.generate(PROMPTS, 3, Sampling(12), torch.Generator().manual_seed(0))


def test_rounded_once_the_weights_draw_the_same_bits_as_rounded_at_each_call(small_policy: Policy) -> None:
    mixed = replace(small_policy, mixed_precision=True)
    by_call = TransformersBackend(mixed)
    by_call._rounded = mixed.model
    assert drawn(TransformersBackend(mixed)) == drawn(by_call)
    assert drawn(TransformersBackend(mixed)) != drawn(TransformersBackend(small_policy))


def test_only_linear_layers_are_copied_and_the_model_stays_as_it_is(small_policy: Policy) -> None:
    model = small_policy.model
    before = {name: weights.clone() for name, weights in model.named_parameters()}
    own, copied = dict(model.named_parameters()), dict(rounded(model).named_parameters())
    assert {name for name, weights in copied.items() if weights is not own.get(name)} == {
        name for name, weights in copied.items() if weights.dtype == torch.bfloat16
    }
    assert "model.embed_tokens.weight" in copied  # whose values the output layer shares
    assert copied["model.embed_tokens.weight"] is own["model.embed_tokens.weight"]
    assert copied["lm_head.weight"].dtype == torch.bfloat16
    assert all(torch.equal(weights, before[name]) for name, weights in model.named_parameters())
    assert all(weights.requires_grad for weights in model.parameters())


def test_new_weights_are_drawn_from_after_an_update(small_policy: Policy) -> None:
    mixed = replace(small_policy, mixed_precision=True)
    backend = TransformersBackend(mixed)
    before = drawn(backend)
    kept = backend._rounded
    with torch.no_grad():
        for weights in mixed.model.parameters():
            weights.mul_(0.8)
    backend.update_weights(mixed)
    assert backend._rounded is kept
    assert drawn(backend) == drawn(TransformersBackend(mixed)) != before


def test_without_mixed_precision_nothing_is_copied(small_policy: Policy) -> None:
    backend = TransformersBackend(small_policy)
    drawn(backend)
    backend.update_weights(small_policy)
    assert backend._rounded is None


def test_weights_that_several_processes_spread_are_not_copied(small_policy: Policy) -> None:
    mixed = replace(small_policy, mixed_precision=True)
    expected = drawn(TransformersBackend(mixed))
    mixed.model.unshard = None  # type: ignore[attr-defined]  # as FSDP2 adds it
    backend = StaticBackend(mixed, lambda: lambda step, rehearse: step)
    assert drawn(backend) == expected
    assert backend._rounded is None
    assert not backend._decoders
