"""Recorded decoding: on a CPU with a call in place of the record, on a GPU where there is one."""

import copy
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import MistralConfig, MistralForCausalLM
from transformers.cache_utils import DynamicCache

from gdpo_bench.agent.backends import decoding
from gdpo_bench.agent.backends.decoding import StaticBackend, StaticDecoder, backend_for
from gdpo_bench.agent.backends.graphs import RecordingError, Step
from gdpo_bench.agent.backends.protocol import Completion, Sampling
from gdpo_bench.agent.backends.static_cache import bucket, has_plain_cache
from gdpo_bench.agent.backends.transformers import Prefilled, TransformersBackend
from gdpo_bench.agent.policy import Policy, log_probs_of

PROMPTS = [[5, 6, 7], [9], [20, 21, 22, 23, 24, 25, 26]]


class Calls:
    """In place of a recorder: rehearses, and calls."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, step: Step, rehearse: Step) -> Step:
        self.recorded += 1
        rehearse()
        return step


def static(policy: Policy, recorder: Calls | None = None, **options: Any) -> StaticBackend:
    return StaticBackend(policy, lambda: recorder or Calls(), **options)


def draw(
    backend: TransformersBackend,
    n: int = 4,
    *,
    tokens: int = 20,
    seed: int = 0,
    prompts: list[list[int]] = PROMPTS,
    **options: Any,
) -> list[Completion]:
    return backend.generate(prompts, n, Sampling(tokens, **options), torch.Generator().manual_seed(seed))


def token_ids(completions: list[Completion]) -> list[list[int]]:
    return [completion.token_ids for completion in completions]


def log_probs(completions: list[Completion]) -> list[float]:
    return [log_prob for completion in completions for log_prob in completion.log_probs]


def test_the_likeliest_tokens_are_those_of_the_other_backend(small_policy: Policy) -> None:
    ours, theirs = (draw(one(small_policy), temperature=0) for one in (static, TransformersBackend))
    assert token_ids(ours) == token_ids(theirs)
    assert log_probs(ours) == pytest.approx(log_probs(theirs), abs=1e-4)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_p": 0.9, "top_k": 50}, {"min_p": 0.01}])
def test_until_rows_are_dropped_a_seed_draws_what_it_draws_by_the_other_backend(
    small_policy: Policy, options: dict[str, Any]
) -> None:
    for seed in range(5):
        ours, theirs = (
            draw(one(small_policy), tokens=3, seed=seed, **options) for one in (static, TransformersBackend)
        )
        assert token_ids(ours) == token_ids(theirs)
        assert [one.finish_reason for one in ours] == [one.finish_reason for one in theirs]
        assert log_probs(ours) == pytest.approx(log_probs(theirs), abs=1e-4)


def test_log_probs_are_those_of_a_fresh_forward_pass(small_policy: Policy) -> None:
    for i, completion in enumerate(draw(static(small_policy), 3, tokens=150)):
        prompt = PROMPTS[i // 3]
        ids = torch.tensor([prompt + completion.token_ids])
        with torch.no_grad():
            logits = small_policy.model(input_ids=ids).logits
        expected = log_probs_of(ids[:, 1:], logits[:, :-1])[0, len(prompt) - 1 :].tolist()
        assert completion.log_probs == pytest.approx(expected, abs=1e-3)


def ending_often(policy: Policy) -> Policy:
    """Every seventh token ends a reply."""
    model = copy.deepcopy(policy.model)
    model.generation_config.eos_token_id = list(range(3, 300, 7))  # type: ignore[attr-defined]
    return Policy(model, policy.tokenizer)


def test_dropping_finished_rows_changes_no_reply(small_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, recorder = ending_often(small_policy), Calls()
    dropping = draw(static(policy, recorder), 40, tokens=60)
    assert recorder.recorded > 2
    monkeypatch.setattr(decoding, "_ROWS", 120)
    whole = draw(static(policy, recorder := Calls()), 40, tokens=60)
    assert recorder.recorded == 1
    assert token_ids(dropping) == token_ids(whole)
    assert log_probs(dropping) == pytest.approx(log_probs(whole), abs=1e-4)
    assert {completion.finish_reason for completion in whole} == {"stop"}
    for completion in whole:
        assert completion.token_ids[-1] in policy.end_tokens
        assert not set(completion.token_ids[:-1]) & set(policy.end_tokens)


def test_steps_are_recorded_once_and_serve_smaller_batches_too(small_policy: Policy) -> None:
    recorder = Calls()
    backend = static(small_policy, recorder)
    first = draw(backend, 2)
    assert recorder.recorded == 1
    assert draw(backend, 2) == first
    draw(backend, 1, prompts=PROMPTS[:2])
    assert recorder.recorded == 1
    draw(backend, 9)
    assert draw(backend, 2) == first
    fresh = draw(static(small_policy), 2)
    assert first == fresh


def test_what_earlier_batches_left_in_memory_changes_nothing(small_policy: Policy) -> None:
    backend = static(small_policy)
    draw(backend, 8, seed=1, prompts=[[7] * 60])
    assert token_ids(draw(backend, 2)) == token_ids(draw(static(small_policy), 2))


def test_recorded_tensors_stay_where_they_are(small_policy: Policy) -> None:
    places: dict[tuple[int, ...], set[tuple[int, ...]]] = {}

    def noted(module: Any, arguments: Any, given: dict[str, Any]) -> None:
        if given["attention_mask"].dim() < 4:
            return  # a prompt
        cache = given["past_key_values"]
        tensors = [given[name] for name in ("input_ids", "attention_mask", "position_ids")]
        tensors += [one for layer in cache.layers for one in (layer.keys, layer.values)]
        tensors += list(module.parameters())
        places.setdefault(tuple(given["attention_mask"].shape), set()).add(tuple(one.data_ptr() for one in tensors))

    policy = replace(ending_often(small_policy), mixed_precision=True)
    backend = static(policy)
    draw(backend, 40)
    assert backend._rounded is not None
    backend._rounded.register_forward_pre_hook(noted, with_kwargs=True)  # type: ignore[attr-defined]
    for seed in range(3):
        draw(backend, 40, seed=seed, tokens=60)
        backend.update_weights(policy)
    assert len(places) > 1
    assert all(len(found) == 1 for found in places.values())


class Strays(TorchDispatchMode):
    """Notes operations that wait for a GPU, or that meet another device's memory."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), given: Any = None) -> Any:
        result = function(*arguments, **(given or {}))
        tensors = [one for one in tree_leaves((arguments, given, result)) if isinstance(one, torch.Tensor)]
        if any(one.device.type == "cpu" for one in tensors) or torch.Tag.data_dependent_output in function.tags:
            self.found.add(str(function))
        return result


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_p": 0.9, "top_k": 5, "min_p": 0.1}])
def test_a_step_stays_on_its_device_and_never_waits(small_policy: Policy, options: dict[str, Any]) -> None:
    policy = ending_often(small_policy).to("meta")  # a device that computes nothing, and has no values to ask for
    ids, cache = torch.ones(3, 7, dtype=torch.long, device="meta"), DynamicCache()
    logits = policy.model(input_ids=ids, past_key_values=cache, position_ids=ids).logits[:, -1].detach()
    prefilled = Prefilled(cache, logits, ids > 0, ids[:, -1:])
    sampling = Sampling(5, **options)
    decoder = StaticDecoder(policy, policy.model, sampling, prefilled, rows=12, length=20, record=Calls())
    decoder._device = torch.device("cpu")  # for autocast, which knows no such device
    with torch.no_grad(), Strays() as strays:
        decoder._begin(prefilled, 4)
        decoder._draw(logits.repeat_interleave(4, 0))
        decoder._step(12, 8)()
        decoder._keep(ids[:, 0], 8)
        decoder._step(3, 9)()
    assert not strays.found


def test_what_cannot_be_recorded_is_called_and_said_once(small_policy: Policy) -> None:
    decoding._warn_of_calls.cache_clear()

    class Refuses(Calls):
        def __call__(self, step: Step, rehearse: Step) -> Step:
            self.recorded += 1
            raise RecordingError("it asks for a value")

    backend = static(small_policy, recorder := Refuses())
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph.*it asks for a value") as warned:
        drawn = draw(backend, tokens=130)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(static(small_policy, recorder))
    assert len(warned) == 1
    assert recorder.recorded == 2  # the first shape of each
    assert token_ids(drawn) == token_ids(draw(static(small_policy), tokens=130))


def test_a_sliding_window_is_left_to_the_other_backend(small_policy: Policy) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    sliding, plain = (
        MistralForCausalLM(MistralConfig(vocab_size=300, num_key_value_heads=1, sliding_window=window, **sizes))
        for window in (8, None)
    )
    assert has_plain_cache(plain)
    assert not has_plain_cache(sliding)
    policy, recorder = Policy(sliding, small_policy.tokenizer), Calls()
    assert draw(static(policy, recorder)) == draw(TransformersBackend(policy))
    assert not recorder.recorded


@pytest.mark.parametrize("mixed", [False, True])
def test_recorded_steps_draw_from_new_weights_after_an_update(small_policy: Policy, mixed: bool) -> None:
    policy, recorder = replace(small_policy, mixed_precision=mixed), Calls()
    backend = static(policy, recorder)
    before = draw(backend)
    recorded = recorder.recorded
    with torch.no_grad():
        for weights in policy.model.parameters():
            weights.mul_(0.8)
    backend.update_weights(policy)
    after = draw(backend)
    assert recorder.recorded == recorded
    assert after == draw(static(policy)) != before


def test_mixed_precision_keeps_keys_in_bfloat16_as_attention_takes_them(small_policy: Policy) -> None:
    mixed = replace(small_policy, mixed_precision=True)
    ours, theirs = (draw(one(mixed), tokens=4, temperature=0) for one in (static, TransformersBackend))
    assert token_ids(ours) == token_ids(theirs)
    assert log_probs(ours) == pytest.approx(log_probs(theirs), abs=0.05)


def test_a_large_cache_is_freed_for_the_update_and_a_small_one_kept(small_policy: Policy) -> None:
    for kept_bytes, recordings in ((1e9, 1), (1, 2)):
        backend = static(small_policy, recorder := Calls(), kept_bytes=kept_bytes)
        for _ in range(2):
            draw(backend, 2)
            backend.sleep()
        assert recorder.recorded == recordings
    draw(backend, 2)
    backend.close()
    assert not backend._decoders


def test_when_memory_runs_out_caches_are_freed_and_fewer_prompts_drawn_at_once(small_policy: Policy) -> None:
    class Full(Calls):
        def __call__(self, step: Step, rehearse: Step) -> Step:
            super().__call__(step, rehearse)
            if self.recorded == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return step

    drawn = draw(static(small_policy, Full()), temperature=0)
    assert token_ids(drawn) == token_ids(draw(TransformersBackend(small_policy), temperature=0))


@pytest.mark.parametrize(("count", "size"), [(1, 8), (8, 8), (9, 16), (17, 32), (33, 40), (40, 40)])
def test_sizes_double_up_to_the_capacity(count: int, size: int) -> None:
    assert bucket(count, 8, 40) == size


def test_a_cpu_calls_its_model(small_policy: Policy) -> None:
    assert type(backend_for(small_policy)) is TransformersBackend


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs")


@needs_gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_on_a_gpu_recorded_steps_draw_what_called_ones_draw(small_policy: Policy, mixed: bool) -> None:
    policy = replace(ending_often(small_policy).to("cuda"), mixed_precision=mixed)
    recorded, called = backend_for(policy), static(policy)
    for _ in range(2):
        ours, theirs = (draw(backend, 40, tokens=60) for backend in (recorded, called))
        assert token_ids(ours) == token_ids(theirs)
        assert log_probs(ours) == pytest.approx(log_probs(theirs), abs=1e-3)
        with torch.no_grad():
            for weights in policy.model.parameters():
                weights.mul_(0.8)
        for backend in (recorded, called):
            backend.update_weights(policy)


@needs_gpu
def test_on_a_gpu_a_model_that_asks_for_values_is_called(small_policy: Policy) -> None:
    decoding._warn_of_calls.cache_clear()
    policy = small_policy.to("cuda")
    expected = draw(static(policy))
    model: Any = policy.model
    model.register_forward_pre_hook(lambda module, arguments, given: given["input_ids"].sum().item(), with_kwargs=True)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        drawn = draw(backend_for(policy))
    assert token_ids(drawn) == token_ids(expected)
