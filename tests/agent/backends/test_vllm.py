"""The vLLM backend against transformers, on the real engine.

tox -e vllm
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from scipy.stats import chisquare

import gdpo_bench
from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent.backends.protocol import Completion, Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend, _nucleus, _truncated
from gdpo_bench.agent.backends.vllm import VLLMBackend
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.backends.weight_sync import WeightSyncError, whole_weights
from gdpo_bench.agent.errors import ContextError
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policy import Chat, Policy, log_probs_of
from gdpo_bench.agent.rollouts import draw as draw_rollouts
from gdpo_bench.agent.trainer import RunResult, Trainer
from gdpo_bench.core import GroupVectorEnv, Task, TextEnv, reward

from .vllm_engine import CONTEXT, change, make_policy, needs_vllm

pytestmark = needs_vllm
TWELVE = Sampling(12)
PROMPTS = [[5, 6, 7], [9], [20, 21, 22, 23, 24, 25, 26]]


@pytest.fixture(scope="module", params=["tied", "untied"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[VLLMBackend, Policy]]:
    policy = make_policy(tied=request.param == "tied")
    backend = VLLMBackend(policy)
    yield backend, policy
    backend.close()


@pytest.fixture
def engine(running: tuple[VLLMBackend, Policy]) -> Iterator[tuple[VLLMBackend, Policy]]:
    """A backend and its policy, both as at the start."""
    backend, policy = running
    state = {name: weights.clone() for name, weights in policy.model.state_dict().items()}
    yield running
    policy.model.load_state_dict(state)
    backend.update_weights(policy)


def draw(backend: VLLMBackend, n: int = 2, seed: int = 0, sampling: Sampling = TWELVE) -> list[Completion]:
    return backend.generate(PROMPTS, n, sampling, torch.Generator().manual_seed(seed))


def trainer_log_probs(policy: Policy, prompt: list[int], completion: Completion, sampling: Sampling) -> list[float]:
    """Log-probabilities of a completion in a fresh forward pass of transformers."""
    token_ids = torch.tensor([prompt + completion.token_ids])
    with torch.no_grad():
        logits = policy.model(input_ids=token_ids).logits / sampling.temperature
    if sampling.top_p < 1:
        logits = _nucleus(logits.log_softmax(-1)[0], sampling.top_p)[None]
    return log_probs_of(token_ids[:, 1:], logits[:, :-1])[0, len(prompt) - 1 :].tolist()


def differences(policy: Policy, completions: list[Completion], sampling: Sampling = TWELVE) -> torch.Tensor:
    """|sampler − trainer| of every token."""
    n = len(completions) // len(PROMPTS)
    pairs = [
        (completion.log_probs, trainer_log_probs(policy, PROMPTS[i // n], completion, sampling))
        for i, completion in enumerate(completions)
    ]
    return torch.cat([(torch.tensor(sampler) - torch.tensor(trainer)).abs() for sampler, trainer in pairs])


@pytest.mark.parametrize("sampling", [Sampling(12), Sampling(12, 0.6), Sampling(12, 1.7), Sampling(12, 1.0, 0.5)])
def test_log_probs_are_those_of_transformers_at_the_sampling_temperature(
    engine: tuple[VLLMBackend, Policy], sampling: Sampling
) -> None:
    backend, policy = engine
    assert differences(policy, draw(backend, n=8, sampling=sampling), sampling).max() < 1e-4


def test_log_probs_follow_an_update_when_it_is_sent_and_not_before(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, policy = engine
    change(policy)
    assert differences(policy, draw(backend, n=8)).mean() > 0.01
    backend.update_weights(policy)
    assert differences(policy, draw(backend, n=8)).max() < 1e-4


def test_a_prompts_cached_prefix_is_forgotten_with_the_weights(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, policy = engine
    prompt = (list(range(10, 100)) * 4)[:300]  # longer than a block of the cache
    for _ in range(2):
        change(policy)
        backend.update_weights(policy)
        (completion,) = backend.generate([prompt], 1, Sampling(4), torch.Generator().manual_seed(0))
        expected = trainer_log_probs(policy, prompt, completion, Sampling(4))
        assert completion.log_probs == pytest.approx(expected, abs=1e-4)


SENT = "gdpo_bench.agent.backends.vllm.whole_weights"


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"]
)
def test_one_wrong_tensor_is_noticed(
    engine: tuple[VLLMBackend, Policy], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, policy = engine

    def spoiled(policy: Policy) -> Iterator[tuple[str, torch.Tensor]]:
        return ((one, 1.5 * tensor if one == name else tensor) for one, tensor in whole_weights(policy))

    with monkeypatch.context() as patch:
        patch.setattr(SENT, spoiled)
        with pytest.raises(WeightSyncError, match="differ by"):
            backend.update_weights(policy)
    backend.update_weights(policy)


def test_weights_that_never_arrive_are_noticed(
    engine: tuple[VLLMBackend, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, policy = engine
    change(policy)
    monkeypatch.setattr(SENT, lambda policy: iter(()))
    with pytest.raises(WeightSyncError, match="differ by"):
        backend.update_weights(policy)


def test_adapters_are_merged_on_the_way_and_stay_apart_in_the_trainer(engine: tuple[VLLMBackend, Policy]) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed: tox -e vllm")
    backend, policy = engine
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = Policy(peft.get_peft_model(copy.deepcopy(policy.model), config), policy.tokenizer)
    rng = torch.Generator().manual_seed(2)
    for name, weights in adapted.model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.1, generator=rng)
    before = {name: weights.clone() for name, weights in adapted.model.state_dict().items()}
    backend.update_weights(adapted)
    completions = draw(backend)
    assert differences(adapted, completions).max() < 1e-4
    assert differences(policy, completions).mean() > 0.01
    torch.testing.assert_close(dict(adapted.model.state_dict()), before, atol=1e-6, rtol=0)


def test_same_seed_same_completions_and_another_seed_others(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, _ = engine
    assert draw(backend, seed=3) == draw(backend, seed=3)
    assert draw(backend, seed=3) != draw(backend, seed=4)


def test_completions_of_a_group_differ(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, _ = engine
    completions = draw(backend, n=8)
    assert len({tuple(completion.token_ids) for completion in completions}) == len(completions)


def test_completions_of_a_prompt_are_adjacent_and_temperature_0_is_greedy(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, policy = engine
    sampling = Sampling(8, 0)
    rng = torch.Generator()
    assert [completion.token_ids for completion in draw(backend, n=3, sampling=sampling)] == [
        completion.token_ids for completion in TransformersBackend(policy).generate(PROMPTS, 3, sampling, rng)
    ]


def test_tokens_are_drawn_by_their_probabilities(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, policy = engine
    draws = 3000
    completions = backend.generate([PROMPTS[0]], draws, Sampling(1), torch.Generator().manual_seed(1))
    with torch.no_grad():
        probabilities = policy.model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].double().softmax(-1)
    counts = Counter(completion.token_ids[0] for completion in completions)
    common = [t for t in range(len(probabilities)) if probabilities[t] * draws >= 10]
    observed = [counts[t] for t in common]
    expected = [float(probabilities[t]) * draws for t in common]
    observed.append(draws - sum(observed))
    expected.append(draws - sum(expected))
    assert len(common) > 10
    assert chisquare(observed, expected).pvalue > 1e-3


def test_completion_ends_with_the_end_token_or_at_the_limit(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, policy = engine
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[policy.end_token] *= 3  # so that it is drawn at times
    backend.update_weights(policy)
    completions = draw(backend, n=60)
    assert {completion.finish_reason for completion in completions} == {"stop", "length"}
    for completion in completions:
        assert len(completion.token_ids) == len(completion.log_probs)
        if completion.finish_reason == "stop":
            assert completion.token_ids.index(policy.end_token) == len(completion.token_ids) - 1
        else:
            assert policy.end_token not in completion.token_ids
            assert len(completion.token_ids) == 12


def test_completion_ends_with_the_first_of_several_end_tokens(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, policy = engine
    unlimited = draw(backend, n=40)
    ends = {policy.end_token, *(completion.token_ids[2] for completion in unlimited if len(completion.token_ids) > 3)}
    several = copy.copy(policy)
    several.__dict__["chat"] = Chat(policy.tokenizer, model_ends=sorted(ends))
    backend._policy = several
    completions = draw(backend, n=40)
    backend._policy = policy
    assert len({completion.token_ids[-1] for completion in completions} & ends) > 2
    for completion in completions:
        assert not ends & set(completion.token_ids[:-1])
        assert (completion.token_ids[-1] in ends) == (completion.finish_reason == "stop")


@pytest.mark.parametrize("sampling", [Sampling(12, top_k=3), Sampling(12, min_p=0.2), Sampling(12, 0.7, 0.9, 9, 0.05)])
def test_top_k_and_min_p_draw_as_transformers_does(engine: tuple[VLLMBackend, Policy], sampling: Sampling) -> None:
    backend, policy = engine
    for i, completion in enumerate(draw(backend, n=8, sampling=sampling)):
        prompt = PROMPTS[i // 8]
        token_ids = torch.tensor([prompt + completion.token_ids])
        with torch.no_grad():
            logits = policy.model(input_ids=token_ids).logits[0, len(prompt) - 1 : -1] / sampling.temperature
        ours = _truncated(logits.log_softmax(-1), sampling).gather(1, token_ids[0, len(prompt) :, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.log_probs), ours, atol=1e-4, rtol=0)


def test_a_completion_ends_where_the_context_is_full_and_a_prompt_that_fills_it_is_refused(
    engine: tuple[VLLMBackend, Policy],
) -> None:
    backend, _ = engine
    sampling, rng = Sampling(20), torch.Generator().manual_seed(0)
    (completion,) = backend.generate([[5] * (CONTEXT - 7)], 1, sampling, rng)
    assert len(completion.token_ids) == 7
    with pytest.raises(ContextError, match="A prompt has 4096 tokens, but vLLM runs with 4096"):
        backend.generate([[5], [5] * CONTEXT], 1, sampling, rng)


def test_more_completions_than_run_at_a_time_and_more_tokens_than_a_prefill_holds(
    engine: tuple[VLLMBackend, Policy],
) -> None:
    backend, policy = engine
    prompts = [[5 + i] * 480 for i in range(90)]
    completions = backend.generate(prompts, 8, Sampling(3), torch.Generator().manual_seed(0))
    assert len(completions) == 720
    for i in (0, 1, 400, 719):
        expected = trainer_log_probs(policy, prompts[i // 8], completions[i], Sampling(3))
        assert completions[i].log_probs == pytest.approx(expected, abs=1e-4)


def train(policy: Policy, backend: VLLMBackend, env: GroupVectorEnv, eval_env: GroupVectorEnv) -> RunResult:
    options = TrainingOptions(
        steps=3, prompts=3, group_size=4, eval_every=3, eval_prompts=2, max_new_tokens=6, learning_rate=3e-3
    )
    normalizer = make_normalizer("gdpo")
    trainer = Trainer(
        policy, env, eval_env, normalizer=normalizer, options=options, weights={}, seed=0, backend=backend
    )
    return trainer.run()


def test_an_engine_that_sleeps_wakes_for_an_update_or_a_completion(
    engine: tuple[VLLMBackend, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, policy = engine
    awake = draw(backend)
    monkeypatch.setattr(backend, "_options", VLLMOptions(sleep_level=1))  # on a CPU only the scheduler sleeps
    executor = backend._llm.llm_engine.engine_core.engine_core.model_executor
    for wake in (lambda: backend.update_weights(policy), lambda: draw(backend)):
        backend.sleep()
        assert executor.is_sleeping
        wake()
        assert not executor.is_sleeping
        assert draw(backend) == awake


class Parity(TextEnv[Task]):
    """Any policy earns something at times."""

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"Task {i} of {split}") for i in range(6)]

    @reward(low=0, high=1, kind="binary")
    def even(self, task: Task, reply: str) -> bool:
        return len(reply) % 2 == 0

    @reward(low=0, high=1)
    def early(self, task: Task, reply: str) -> float:
        return sum(character < "a" for character in reply) / max(1, len(reply))


def test_the_trainer_trains_and_the_engine_keeps_up(
    engine: tuple[VLLMBackend, Policy], vec: Callable[..., GroupVectorEnv]
) -> None:
    backend, policy = engine
    before = policy.model.state_dict()["model.norm.weight"].clone()
    result = train(policy, backend, vec(Parity, 3, 4), vec(Parity, 2, 2, split="eval"))
    assert [evaluation.step for evaluation in result.evaluations] == [0, 3]
    assert (policy.model.state_dict()["model.norm.weight"] - before).abs().mean() > 1e-3
    assert differences(policy, draw(backend)).max() < 1e-4


class Caller(Policy):
    """Random tokens that the environment reads as a call, or else as a response: more turns for some rollouts."""

    def decode(self, completions: Sequence[Sequence[int]]) -> list[str]:
        call = '<tool_call>\n{"name": "calculate", "parameters": {"expression": "1+2"}}\n</tool_call>'
        return [f"<think>so</think>\n{call if ids[0] % 3 else '<response>3</response>'}" for ids in completions]


def test_dialogues_are_played_turn_by_turn_and_trained_on(engine: tuple[VLLMBackend, Policy]) -> None:
    backend, policy = engine
    caller = Caller(policy.model, policy.tokenizer)

    def make(prompts: int, group: int, split: str = "train") -> GroupVectorEnv:
        return gdpo_bench.make_vec("gdpo/ToolDialog-v0", num_prompts=prompts, group_size=group, split=split)

    rng = torch.Generator().manual_seed(0)
    rollouts, _ = draw_rollouts(make(2, 3), caller, backend, sampling=Sampling(3), rng=rng, seed=0)
    drawn = rollouts.completion_mask[:, 1:]
    assert (drawn & ~rollouts.completion_mask[:, :-1]).sum(1).max() > 2  # turns
    with torch.no_grad():
        logits = policy.model(input_ids=rollouts.token_ids).logits
        again = log_probs_of(rollouts.token_ids[:, 1:], logits[:, :-1])
    torch.testing.assert_close(again[drawn], rollouts.log_probs[:, 1:][drawn], atol=1e-4, rtol=0)

    before = policy.model.state_dict()["model.norm.weight"].clone()
    train(caller, backend, make(3, 4), make(2, 2, "eval"))
    assert (policy.model.state_dict()["model.norm.weight"] - before).abs().mean() > 1e-3
    assert differences(policy, draw(backend)).max() < 1e-4
