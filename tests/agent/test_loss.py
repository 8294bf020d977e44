import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gdpo_bench.agent.loss import Totals, aggregate, clipped_share, k3, log_ratio, token_surrogate
from gdpo_bench.agent.policy import log_probs_of


def clipped_loss(
    log_probs: torch.Tensor,
    old: torch.Tensor,
    drawn: torch.Tensor,
    advantages: torch.Tensor,
    clip: float,
    *,
    surrogate: Any = "ppo",
    aggregation: Any = "sequence_mean",
    limit: int = 10,
) -> torch.Tensor:
    """The loss of a whole minibatch."""
    gains = token_surrogate(log_probs, old, drawn, advantages, surrogate=surrogate, clip_low=clip, clip_high=clip)
    return -aggregate(gains, drawn, Totals(len(drawn), int(drawn.sum())), aggregation, limit)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_log_probs_are_the_cross_entropy(temperature: float) -> None:
    logits, token_ids = torch.randn(3, 5, 11), torch.randint(11, (3, 5))
    entropy = F.cross_entropy(
        (logits[:, :-1] / temperature).flatten(0, 1), token_ids[:, 1:].flatten(), reduction="none"
    )
    torch.testing.assert_close(log_probs_of(token_ids[:, 1:], logits[:, :-1], temperature), -entropy.reshape(3, 4))


def test_log_probs_of_half_precision_logits_are_taken_in_float32() -> None:
    logits = torch.randn(2, 3, 300).bfloat16()
    assert log_probs_of(torch.zeros(2, 3, dtype=torch.long), logits).dtype == torch.float32


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


@pytest.mark.parametrize(
    ("aggregation", "gradients"),
    [("sequence_mean", [-0.5, -0.5]), ("token_mean", [-0.2, -0.8]), ("constant", [-0.05, -0.2])],
)
def test_aggregations_weigh_long_replies_differently(aggregation: str, gradients: list[float]) -> None:
    new = torch.zeros(2, 4, requires_grad=True)
    drawn = torch.tensor([[True, False, False, False], [True] * 4])
    clipped_loss(new, torch.zeros(2, 4), drawn, torch.ones(2), 0.2, aggregation=aggregation).backward()
    assert new.grad is not None
    assert new.grad.sum(1).tolist() == pytest.approx(gradients)


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean", "constant"])
def test_parts_of_a_minibatch_add_up_to_the_whole(aggregation: Any) -> None:
    tokens, drawn = torch.randn(5, 7), torch.rand(5, 7) > 0.4
    totals = Totals(5, int(drawn.sum()))
    parts = [aggregate(tokens[rows], drawn[rows], totals, aggregation, 9) for rows in ([0, 1], [2], [3, 4])]
    whole = aggregate(tokens, drawn, totals, aggregation, 9)
    torch.testing.assert_close(sum(parts), whole)


def test_bounds_differ_upwards_and_downwards() -> None:
    new = torch.tensor([[0.25], [-0.25]], requires_grad=True)  # ratios 1.28 and 0.78
    drawn = torch.ones(2, 1, dtype=torch.bool)
    gains = token_surrogate(new, torch.zeros(2, 1), drawn, torch.tensor([1.0, -1.0]), clip_low=0.2, clip_high=0.3)
    gains.sum().backward()
    assert new.grad is not None
    assert new.grad.flatten().tolist() == pytest.approx([math.exp(0.25), 0.0])


def test_gspo_has_one_ratio_a_reply_and_clips_it_as_a_whole() -> None:
    new = torch.tensor([[0.3, 0.1, 7.0], [0.5, 0.5, 0.5]], requires_grad=True)
    drawn = torch.tensor([[True, True, False], [True] * 3])
    assert log_ratio(new, torch.zeros(2, 3), drawn, "gspo").flatten().tolist() == pytest.approx([0.2, 0.5])
    clipped_loss(new, torch.zeros(2, 3), drawn, torch.ones(2), 0.3, surrogate="gspo").backward()
    assert new.grad is not None
    ratio = math.exp(0.2)
    assert new.grad[0].tolist() == pytest.approx([-ratio / 4, -ratio / 4, 0.0])
    assert new.grad[1].tolist() == [0.0] * 3


def test_cispo_weighs_the_gradient_of_log_probabilities_by_the_clipped_ratio_on_both_sides_of_the_bound() -> None:
    new = torch.tensor([[-0.1, -0.9, -2.0]], requires_grad=True)
    old = torch.tensor([[-1.1, -1.0, -1.5]])
    drawn = torch.ones(1, 3, dtype=torch.bool)
    clipped_loss(new, old, drawn, torch.tensor([2.0]), 0.2, surrogate="cispo").backward()
    assert new.grad is not None
    weights = [1.2, math.exp(0.1), 0.8]
    assert new.grad[0].tolist() == pytest.approx([-2.0 * weight / 3 for weight in weights])


@pytest.mark.parametrize("junk", [1e3, 1e30, math.inf, -math.inf, math.nan])
def test_tokens_that_the_policy_did_not_draw_have_no_influence_on_the_divergence(junk: float) -> None:
    new = torch.tensor([[-1.0, junk]], requires_grad=True)
    drawn = torch.tensor([[True, False]])
    divergence = k3(new, torch.tensor([[-1.5, -junk]]), drawn)
    assert divergence[0, 1] == 0
    aggregate(divergence, drawn, Totals(1, 1), "sequence_mean", 2).backward()
    assert new.grad is not None
    assert new.grad.tolist() == [[pytest.approx(1 - math.exp(-0.5)), 0.0]]


@given(st.floats(-5, 5, allow_subnormal=False), st.floats(-5, 5, allow_subnormal=False))
def test_k3_is_never_negative_and_its_gradient_points_to_the_reference(new: float, reference: float) -> None:
    drawn = torch.ones(1, 1, dtype=torch.bool)
    log_prob = torch.tensor([[new]], dtype=torch.float64, requires_grad=True)
    divergence = k3(log_prob, torch.tensor([[reference]], dtype=torch.float64), drawn)
    divergence.sum().backward()
    assert divergence.item() >= -1e-15
    assert log_prob.grad is not None
    assert log_prob.grad.item() == pytest.approx(1 - math.exp(reference - new), abs=1e-12)


def test_k3_averages_to_the_divergence() -> None:
    ours, reference = torch.log_softmax(torch.randn(2, 50).double(), -1)
    expected = (ours.exp() * (ours - reference)).sum()
    estimates = k3(ours[None], reference[None], torch.ones(1, 50, dtype=torch.bool))[0]
    torch.testing.assert_close((ours.exp() * estimates).sum(), expected)


def test_clipped_share_is_where_the_gradient_vanishes() -> None:
    new = torch.linspace(-0.6, 0.6, 13).repeat(2, 1).requires_grad_()
    advantages = torch.tensor([1.0, -1.0])
    drawn = torch.ones(2, 13, dtype=torch.bool)
    token_surrogate(new, torch.zeros(2, 13), drawn, advantages, clip_low=0.2, clip_high=0.28).sum().backward()
    assert new.grad is not None
    clipped = clipped_share(new.detach().exp(), advantages, 0.2, 0.28)
    assert torch.equal(clipped, new.grad == 0)
