import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gdpo_bench.agent.loss import clipped_loss, token_log_probs


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_token_log_probs_are_the_cross_entropy(temperature: float) -> None:
    logits, token_ids = torch.randn(3, 5, 11), torch.randint(11, (3, 5))
    entropy = F.cross_entropy(
        (logits[:, :-1] / temperature).flatten(0, 1), token_ids[:, 1:].flatten(), reduction="none"
    )
    torch.testing.assert_close(token_log_probs(logits, token_ids, temperature), -entropy.reshape(3, 4))


def test_token_log_probs_of_half_precision_logits_are_taken_in_float32() -> None:
    logits = torch.randn(2, 3, 300).bfloat16()
    assert token_log_probs(logits, torch.zeros(2, 3, dtype=torch.long)).dtype == torch.float32


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.tuples(
            st.floats(-3, 3),
            st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.booleans()), min_size=4, max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
    clip=st.floats(0.05, 0.5),
)
def test_loss_is_the_formula_of_the_paper(
    data: list[tuple[float, list[tuple[float, float, bool]]]], clip: float
) -> None:
    replies = []
    for advantage, tokens in data:
        gains = []
        for new, old, drawn in tokens:
            ratio = math.exp(new - old)
            if drawn:
                gains.append(min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage))
        replies.append(sum(gains) / max(1, len(gains)))
    new, old, drawn = (torch.tensor([[token[i] for token in tokens] for _, tokens in data]) for i in range(3))
    advantages = torch.tensor([advantage for advantage, _ in data], dtype=torch.float64)
    loss = clipped_loss(new.double(), old.double(), drawn, advantages, clip)
    assert loss.item() == pytest.approx(-sum(replies) / len(replies), abs=1e-6)


@pytest.mark.parametrize(
    ("advantage", "ratio", "moves"),
    [(1.0, 1.0, True), (1.0, 1.3, False), (1.0, 0.5, True), (-1.0, 1.0, True), (-1.0, 0.7, False), (-1.0, 1.5, True)],
)
def test_gradient_is_zero_only_where_the_ratio_left_the_clip_in_the_wanted_direction(
    advantage: float, ratio: float, moves: bool
) -> None:
    log_probs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss = clipped_loss(
        log_probs, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), torch.tensor([advantage]), 0.2
    )
    loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.item() == pytest.approx(-advantage * ratio if moves else 0)


@pytest.mark.parametrize("junk", [0.0, 1e30, -1e30, math.inf, -math.inf, math.nan])
def test_tokens_that_the_policy_did_not_draw_have_no_influence(junk: float) -> None:
    drawn = torch.tensor([[False, True, True, False]])
    new = torch.tensor([[junk, -1.0, -2.0, junk]], requires_grad=True)
    loss = clipped_loss(new, torch.tensor([[0.0, -1.1, -1.9, -junk]]), drawn, torch.tensor([2.0]), 0.2)
    alone = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    expected = clipped_loss(
        alone, torch.tensor([[-1.1, -1.9]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([2.0]), 0.2
    )
    loss.backward()
    expected.backward()
    assert loss.item() == expected.item()
    assert new.grad is not None
    assert alone.grad is not None
    assert new.grad.tolist() == [[0.0, *alone.grad[0].tolist(), 0.0]]


def test_reply_without_a_drawn_token_adds_nothing_but_counts() -> None:
    zeros = torch.zeros(2, 3)
    drawn = torch.tensor([[True] * 3, [False] * 3])
    assert clipped_loss(zeros, zeros, drawn, torch.tensor([1.0, 5.0]), 0.2).item() == -0.5


def test_every_reply_counts_the_same_whatever_its_length() -> None:
    new = torch.zeros(2, 4, requires_grad=True)
    drawn = torch.tensor([[True, False, False, False], [True] * 4])
    clipped_loss(new, torch.zeros(2, 4), drawn, torch.tensor([1.0, 1.0]), 0.2).backward()
    assert new.grad is not None
    assert new.grad.sum(1).tolist() == [-0.5, -0.5]
