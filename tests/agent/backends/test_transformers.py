from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from gdpo_bench.agent.backends.protocol import Completion, Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend, _sample
from gdpo_bench.agent.errors import OutOfMemoryError
from gdpo_bench.agent.policy import Policy, log_probs_of

PROMPTS = [[5, 6, 7], [9], [20, 21, 22, 23, 24, 25, 26]]


def generate(
    policy: Policy, prompts: list[list[int]], *, n: int = 2, seed: int = 0, tokens: int = 8, temperature: float = 1.0
) -> list[Completion]:
    rng = torch.Generator().manual_seed(seed)
    return TransformersBackend(policy).generate(prompts, n, Sampling(tokens, temperature), rng)


def fresh_log_probs(policy: Policy, prompt: list[int], completion: Completion, temperature: float = 1.0) -> list[float]:
    token_ids = torch.tensor([prompt + completion.token_ids])
    with torch.no_grad():
        logits = policy.model(input_ids=token_ids).logits
    return log_probs_of(token_ids[:, 1:], logits[:, :-1], temperature)[0, len(prompt) - 1 :].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_log_probs_are_those_of_a_fresh_forward_pass_of_each_prompt_alone(
    small_policy: Policy, temperature: float
) -> None:
    completions = generate(small_policy, PROMPTS, n=3, tokens=20, temperature=temperature)
    for i, completion in enumerate(completions):
        expected = fresh_log_probs(small_policy, PROMPTS[i // 3], completion, temperature)
        assert completion.log_probs == pytest.approx(expected, abs=1e-4)


def test_completions_of_a_prompt_are_adjacent(small_policy: Policy) -> None:
    together = generate(small_policy, PROMPTS, n=4, temperature=0)
    alone = [generate(small_policy, [prompt], n=1, temperature=0)[0].token_ids for prompt in PROMPTS]
    assert alone[0] != alone[1] != alone[2]
    assert [completion.token_ids for completion in together] == [ids for ids in alone for _ in range(4)]


def test_completion_ends_with_the_end_token_or_at_the_limit(small_policy: Policy) -> None:
    end = small_policy.end_token
    completions = generate(small_policy, PROMPTS, n=40, tokens=12)
    assert {completion.finish_reason for completion in completions} == {"stop", "length"}
    for completion in completions:
        assert len(completion.token_ids) == len(completion.log_probs) <= 12
        if completion.finish_reason == "stop":
            assert completion.token_ids.index(end) == len(completion.token_ids) - 1
        else:
            assert end not in completion.token_ids
            assert len(completion.token_ids) == 12


def test_completion_ends_with_the_first_of_several_end_tokens(small_policy: Policy) -> None:
    unlimited = generate(small_policy, PROMPTS, n=40, tokens=12)
    listed = sorted({completion.token_ids[2] for completion in unlimited if len(completion.token_ids) > 3})
    small_policy.model.generation_config.eos_token_id = listed
    policy = Policy(small_policy.model, small_policy.tokenizer)
    ends = {small_policy.end_token, *listed}
    completions = generate(policy, PROMPTS, n=40, tokens=12)
    assert len({completion.token_ids[-1] for completion in completions} & ends) > 2
    for completion in completions:
        assert not ends & set(completion.token_ids[:-1])
        assert (completion.token_ids[-1] in ends) == (completion.finish_reason == "stop")
        assert len(completion.token_ids) == 12 or completion.finish_reason == "stop"
        assert len(completion.token_ids) == len(completion.log_probs)


def test_when_memory_runs_out_fewer_prompts_are_drawn_at_once(
    small_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = TransformersBackend._generate

    def limited(self: TransformersBackend, prompts: Any, *arguments: Any) -> Any:
        asked.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, prompts, *arguments)

    monkeypatch.setattr(TransformersBackend, "_generate", limited)
    prompts = [[token] for token in range(5, 10)]
    completions = generate(small_policy, prompts, n=2, temperature=0)
    assert asked == [5, 2, 2, 1]
    monkeypatch.undo()
    assert [c.token_ids for c in completions] == [c.token_ids for c in generate(small_policy, prompts, temperature=0)]


def test_one_prompt_that_does_not_fit_is_an_error(small_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TransformersBackend, "_generate", never)
    with pytest.raises(OutOfMemoryError, match="smaller group_size"):
        generate(small_policy, PROMPTS)


def test_end_token_as_the_last_of_the_limit_is_a_stop(small_policy: Policy) -> None:
    for completion in generate(small_policy, [[9]], n=200, tokens=1):
        stopped = completion.token_ids == [small_policy.end_token]
        assert completion.finish_reason == ("stop" if stopped else "length")


def test_same_generator_seed_gives_the_same_tokens_and_another_does_not(small_policy: Policy) -> None:
    assert generate(small_policy, PROMPTS, seed=3) == generate(small_policy, PROMPTS, seed=3)
    assert generate(small_policy, PROMPTS, seed=3) != generate(small_policy, PROMPTS, seed=4)


def test_temperature_0_takes_the_likeliest_token(small_policy: Policy) -> None:
    completion = generate(small_policy, [PROMPTS[0]], n=1, temperature=0)[0]
    ids = list(PROMPTS[0])
    for token in completion.token_ids:
        with torch.no_grad():
            assert token == int(small_policy.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)


def test_backend_sees_updated_weights_at_once(small_policy: Policy) -> None:
    backend = TransformersBackend(small_policy)
    sampling, prompt = Sampling(4, 0), [PROMPTS[0]]
    before = backend.generate(prompt, 1, sampling, torch.Generator())
    with torch.no_grad():
        small_policy.model.get_input_embeddings().weight.neg_()
    after = backend.generate(prompt, 1, sampling, torch.Generator())[0]
    assert after != before[0]
    assert after.log_probs == pytest.approx(fresh_log_probs(small_policy, PROMPTS[0], after), abs=1e-4)


def test_sampled_frequencies_match_the_probabilities(small_policy: Policy) -> None:
    draws = 20_000
    with torch.no_grad():
        logits = small_policy.model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    probabilities = logits.double().softmax(-1)
    token, log_probs = _sample(logits.expand(draws, -1), Sampling(1), torch.Generator().manual_seed(11))
    counts = Counter(token.tolist())
    common = [t for t in range(len(probabilities)) if probabilities[t] * draws >= 10]
    observed = [counts[t] for t in common]
    expected = [float(probabilities[t]) * draws for t in common]
    observed.append(draws - sum(observed))
    expected.append(draws - sum(expected))
    assert len(common) > 10
    assert chisquare(observed, expected).pvalue > 1e-3
    torch.testing.assert_close(log_probs.double(), probabilities.log()[token], atol=1e-4, rtol=0)


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.full((20_000, 6), -torch.inf)
    logits[:, [2, 4]] = torch.tensor([0.0, 1.0])
    token, log_probs = _sample(logits, Sampling(1), torch.Generator().manual_seed(0))
    assert set(token.tolist()) == {2, 4}
    assert log_probs.isfinite().all()


def test_top_p_draws_from_the_likeliest_tokens_that_reach_it_and_tells_their_log_probabilities() -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05])
    logits = probabilities.log().expand(20_000, -1)
    token, log_probs = _sample(logits, Sampling(1, top_p=0.75), torch.Generator().manual_seed(0))
    assert set(token.tolist()) == {1, 3}
    shares = {1: 0.5 / 0.8, 3: 0.3 / 0.8}
    for drawn, share in shares.items():
        assert (token == drawn).double().mean().item() == pytest.approx(share, abs=0.015)
        torch.testing.assert_close(log_probs[token == drawn].exp().unique(), torch.tensor([share]))


def test_top_p_keeps_at_least_the_likeliest_token() -> None:
    token, _ = _sample(torch.tensor([[0.0, 3.0, 1.0]]), Sampling(1, top_p=1e-6), torch.Generator())
    assert token.tolist() == [1]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, [1, 3]),
        ({"min_p": 0.19}, [0, 1, 3]),
        ({"min_p": 0.21}, [1, 3]),
        ({"top_k": 3, "top_p": 0.85}, [1, 3]),  # of what top_k leaves, .5 + .3 of .9 is enough
        ({"min_p": 0.19, "top_p": 0.9}, [0, 1, 3]),
        ({"top_k": 99, "min_p": 0.0}, [0, 1, 2, 3, 4]),
    ],
)
def test_top_k_and_min_p_draw_from_what_they_leave_and_tell_its_log_probabilities(
    options: dict[str, Any], kept: list[int]
) -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05])
    logits = probabilities.log().expand(20_000, -1)
    token, log_probs = _sample(logits, Sampling(1, **options), torch.Generator().manual_seed(0))
    assert sorted(set(token.tolist())) == kept
    expected = probabilities / probabilities[kept].sum()
    torch.testing.assert_close(log_probs.exp(), expected[token])
    for drawn in kept:
        assert (token == drawn).double().mean().item() == pytest.approx(expected[drawn].item(), abs=0.015)


def test_sampling_leaves_no_gradients(small_policy: Policy) -> None:
    small_policy.model.train()
    generate(small_policy, PROMPTS)
    assert all(weights.grad is None for weights in small_policy.model.parameters())
