"""One training step in absolute numbers; weights by a formula, so that they are the same on any CPU, under any version.

Four gradient steps, since AdamW's first one has the same size whatever its betas are and however gradients are scaled.
"""

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from gdpo_bench.advantages import compute_advantages
from gdpo_bench.agent.loss import Batch
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Rollouts
from gdpo_bench.core.scoring import Scores

from .test_step import make_step

N, L = 8, 10
REWARDS = [[1, 0], [0, 1], [1, 1], [0, 0], [1, 0.5], [0, 0.5], [0, 0], [1, 1]]
STEP = {"epochs": 2, "minibatches": 2, "micro_batch": 3, "learning_rate": 1e-2, "kl_coefficient": 0.2} | {
    "max_grad_norm": 0.3,
    "max_new_tokens": L,
}


def wave(*shape: int, phase: float) -> torch.Tensor:
    return torch.sin(torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * 0.7 + phase).view(shape)


@pytest.fixture
def policy(small_policy: Policy) -> Policy:
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=24,
            max_position_embeddings=32,
            tie_word_embeddings=True,
            bos_token_id=None,
        )
    ).double()
    with torch.no_grad():
        for i, weights in enumerate(model.parameters()):
            weights.copy_((weights.dim() == 1) + 0.4 * wave(*weights.shape, phase=i))
    return Policy(model, small_policy.tokenizer)


def own_log_probs(policy: Policy, token_ids: torch.Tensor) -> torch.Tensor:
    """(N, L), 0 in the first column."""
    logits = policy.model.eval()(input_ids=token_ids).logits[:, :-1].detach()
    found = torch.log_softmax(logits, -1).gather(-1, token_ids[:, 1:, None])[..., 0]
    return torch.nn.functional.pad(found, (1, 0)).float()


@pytest.mark.parametrize(
    ("surrogate", "loss", "kl", "clipped", "norm", "after"),
    [
        (
            "ppo",
            0.23564156,
            1.0574041,
            0.33107493,
            5.4562723,
            [-18.653774, -9.2442207, -23.149641, -10.540271, -18.566696, -11.695644, -22.934866, -10.491907],
        ),
        (
            "gspo",
            0.12644576,
            0.68099309,
            0.33169643,
            4.5637349,
            [-18.411016, -9.0405483, -21.49827, -9.7112598, -18.951824, -11.16468, -22.746588, -10.143892],
        ),
        (
            "cispo",
            0.13529694,
            0.8500446,
            0.27988445,
            5.4130096,
            [-18.099712, -9.6272564, -23.951029, -10.692341, -16.762003, -11.406115, -26.93272, -9.9611254],
        ),
    ],
)
def test_a_training_step_has_these_numbers(
    policy: Policy, *, surrogate: str, loss: float, kl: float, clipped: float, norm: float, after: list[float]
) -> None:
    rows, columns = torch.arange(N)[:, None], torch.arange(L)
    token_ids = (7 * columns + 11 * rows + rows * columns) % 40
    drawn = torch.zeros(N, L, dtype=torch.bool)
    drawn[:, 2:5] = True
    drawn[::2, 7:9] = True  # a second turn, behind tokens that nobody drew
    drawn[3, 4] = False
    old = (own_log_probs(policy, token_ids) + 0.2 * wave(N, L, phase=2).float()) * drawn
    yes = np.ones((N, 2), bool)
    rewards = np.array(REWARDS, float)
    scores = Scores(rewards, rewards, yes, ~yes)
    rollouts = Rollouts(token_ids, drawn, old, torch.zeros(N, dtype=torch.bool), np.arange(N) // 4, scores)
    advantages = compute_advantages("gdpo", rewards, rollouts.groups)
    step = make_step(policy, 5, **STEP | {"surrogate": surrogate})
    found = step.learn(Batch(rollouts, advantages, step.options, *step.log_probs(rollouts)), 0)
    sums = (own_log_probs(policy, token_ids) * drawn).sum(1).tolist()
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["kl"] == pytest.approx(kl, rel=1e-4)
    assert found["clipped_share"] == pytest.approx(clipped, rel=1e-4)
    assert found["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert sums == pytest.approx(after, rel=1e-4)
