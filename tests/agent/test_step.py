import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent.errors import DivergedError, OutOfMemoryError
from gdpo_bench.agent.loss import Batch
from gdpo_bench.agent.options import TrainingOptions, learning_rate
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Rollouts, Tally, concatenate
from gdpo_bench.agent.step import TrainingStep
from gdpo_bench.agent.trainer import Trainer
from gdpo_bench.core import DeclarationError, GroupVectorEnv, Task, TextEnv, reward
from gdpo_bench.core.scoring import Scores

N, L = 6, 9
OPTIONS = TrainingOptions(minibatches=1, learning_rate=1e-2, max_new_tokens=L)


def make_rollouts(policy: Policy, seed: int = 0, rows: int = N) -> Rollouts:
    """Rollouts of random tokens, with the log-probabilities that the policy gives them."""
    rng = torch.Generator().manual_seed(seed)
    token_ids = torch.randint(2, 200, (rows, L), generator=rng)
    mask = torch.zeros(rows, L, dtype=torch.bool)
    for row in range(rows):
        mask[row, 2 : 4 + row] = True
    blank = Rollouts(
        token_ids,
        mask,
        torch.zeros(rows, L),
        torch.arange(rows) % 2 == 1,
        np.arange(rows) // 2,
        Scores.empty(rows, 1),
    )
    log_probs = torch.zeros(rows, L)
    log_probs[:, 1:] = make_step(policy).all_log_probs(policy, blank.token_ids) * mask[:, 1:]
    return Rollouts(token_ids, mask, log_probs, blank.truncated, blank.groups, blank.scores)


ADVANTAGES = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -2.0], dtype=torch.float64)


class Idle:
    """A backend that is not asked to draw."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def sleep(self) -> None: ...

    def update_weights(self, policy: Policy) -> None: ...


class Nothing(TextEnv[Task]):
    def tasks(self, split: str) -> list[Task]:
        return [Task("never asked")]

    @reward(low=0, high=1)
    def nothing(self, task: Task, reply: str) -> float:
        return 0.0


def make_step(policy: Policy, seed: int = 0, *, exact: bool = True, **options: Any) -> TrainingStep:
    return TrainingStep(
        policy,
        Idle(exact),  # type: ignore[arg-type]
        GroupVectorEnv(Nothing(), "test/Nothing-v0", 1, 1),
        normalizer=make_normalizer("gdpo"),
        reward_weights={},
        options=OPTIONS.model_copy(update=options),
        rng=torch.Generator().manual_seed(seed),
        tally=Tally(),
    )


def update(step: TrainingStep, rollouts: Rollouts, number: int = 0) -> dict[str, float]:
    """Learn from rollouts as if they had been drawn."""
    return step.learn(Batch(rollouts, ADVANTAGES, step.options, *step.log_probs(rollouts)), number)


def learn(policy: Policy, rollouts: Rollouts, seed: int = 0, **options: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """The weights after one update of a copy of the policy, and what was measured."""
    own = Policy(copy.deepcopy(policy.model), policy.tokenizer)
    step = make_step(own, seed, **options)
    return own.model.state_dict(), update(step, rollouts)


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 1e-5) -> bool:
    """On average: Adam makes a step of full size even of a gradient that is only rounding."""
    return all((one[name] - other[name]).abs().mean() < tolerance for name in one)


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean", "constant"])
@pytest.mark.parametrize("surrogate", ["ppo", "gspo", "cispo"])
def test_micro_batches_give_the_same_update(small_policy: Policy, aggregation: str, surrogate: str) -> None:
    rollouts = make_rollouts(small_policy)
    options = {"aggregation": aggregation, "surrogate": surrogate, "kl_coefficient": 0.1, "epochs": 2}
    whole, measured = learn(small_policy, rollouts, **options)
    parts, again = learn(small_policy, rollouts, micro_batch=2, **options)
    assert close(whole, parts)
    assert measured == pytest.approx(again, abs=1e-4)
    assert not close(whole, small_policy.model.state_dict(), 1e-3)


def test_when_memory_runs_out_smaller_parts_give_the_same_update(
    small_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = make_rollouts(small_policy)
    expected, _ = learn(small_policy, rollouts)
    sizes = []
    original = TrainingStep.one_pass

    def limited(self: TrainingStep, batch: Any, rows: torch.Tensor, totals: Any) -> Any:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, batch, rows, totals)

    monkeypatch.setattr(TrainingStep, "one_pass", limited)
    found, _ = learn(small_policy, rollouts)
    assert sizes == [6, 3, 2, 2, 2]
    assert close(expected, found)


def test_a_rollout_that_never_fits_is_an_error_that_says_what_to_do(
    small_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = make_rollouts(small_policy)

    def never(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainingStep, "one_pass", never)
    with pytest.raises(OutOfMemoryError, match="smaller max_new_tokens"):
        learn(small_policy, rollouts)


def test_without_a_coefficient_no_reference_is_kept_and_with_a_large_one_the_policy_stays(small_policy: Policy) -> None:
    assert make_step(small_policy).reference is None
    rollouts = make_rollouts(small_policy)

    def moved(**options: Any) -> float:
        own = Policy(copy.deepcopy(small_policy.model), small_policy.tokenizer)
        step = make_step(own, **{"learning_rate": 1e-3, **options})
        for number in range(8):
            update(step, rollouts, number)
        change = step.all_log_probs(own, rollouts.token_ids) - rollouts.log_probs[:, 1:]
        return float((change * rollouts.completion_mask[:, 1:]).abs().mean())

    assert moved(kl_coefficient=100.0) < 0.3 * moved()


def test_replies_that_were_cut_off_carry_no_loss_when_masked(small_policy: Policy) -> None:
    rollouts = make_rollouts(small_policy)
    masked, _ = learn(small_policy, rollouts, overlong="mask", aggregation="token_mean")
    without = Rollouts(
        rollouts.token_ids,
        rollouts.completion_mask & ~rollouts.truncated[:, None],
        rollouts.log_probs,
        rollouts.truncated,
        rollouts.groups,
        rollouts.scores,
    )
    expected, _ = learn(small_policy, without, aggregation="token_mean")
    kept, _ = learn(small_policy, rollouts, aggregation="token_mean")
    assert close(masked, expected)
    assert not close(masked, kept, 1e-4)


def test_a_sampler_that_disagrees_is_corrected_for_up_to_the_cap(small_policy: Policy) -> None:
    rollouts = make_rollouts(small_policy)
    plain, _ = learn(small_policy, rollouts)
    agreeing, measures = learn(small_policy, rollouts, exact=False)
    assert close(plain, agreeing)
    assert measures["sampler_difference"] == pytest.approx(0, abs=1e-5)
    # Where the sampler thought all tokens e times less likely, each counts as much more, up to the cap.
    other = Rollouts(
        rollouts.token_ids,
        rollouts.completion_mask,
        rollouts.log_probs - rollouts.completion_mask.float(),
        rollouts.truncated,
        rollouts.groups,
        rollouts.scores,
    )
    losses = {cap: learn(small_policy, other, exact=False, importance_cap=cap)[1]["loss"] for cap in (None, 2.0, 100.0)}
    assert losses[2.0] == pytest.approx(2.0 * losses[None], rel=1e-4)
    assert losses[100.0] == pytest.approx(math.e * losses[None], rel=1e-4)


def test_epochs_and_minibatches_take_so_many_gradient_steps(small_policy: Policy) -> None:
    own = Policy(copy.deepcopy(small_policy.model), small_policy.tokenizer)
    step = make_step(own, epochs=3, minibatches=2)
    update(step, make_rollouts(small_policy))
    assert {int(state["step"]) for state in step.optimizer.state.values()} == {6}


def test_a_loss_that_is_no_number_names_its_rollouts(small_policy: Policy) -> None:
    rollouts = make_rollouts(small_policy)
    rollouts.log_probs[3, 3] = math.nan
    with pytest.raises(DivergedError, match="nan at step 0") as caught:
        learn(small_policy, rollouts)
    assert [math.isnan(sum(row["log_probs"])) for row in caught.value.batch].count(True) == 1
    assert {row["group"] for row in caught.value.batch} == {0, 1, 2}


def test_schedules_rise_to_the_peak_and_fall_to_nothing() -> None:
    linear = [learning_rate(step, 10, peak=1.0, schedule="linear", warmup=2) for step in range(11)]
    assert linear[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert linear[6] == pytest.approx(0.5)
    assert linear[10] == 0
    assert learning_rate(5, 10, peak=2.0, schedule="cosine") == pytest.approx(1.0)
    assert learning_rate(9, 10, peak=2.0) == 2.0


def test_rollouts_are_put_together_and_taken_apart(small_policy: Policy) -> None:
    first, second = make_rollouts(small_policy), make_rollouts(small_policy, seed=1, rows=4)
    shorter = Rollouts(
        second.token_ids[:, :7],
        second.completion_mask[:, :7],
        second.log_probs[:, :7],
        second.truncated,
        second.groups,
        second.scores,
    )
    both = concatenate([first, shorter])
    assert both.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert both.token_ids.shape == (10, L)
    assert both.token_ids[6:, 7:].sum() == 0
    assert both.completion_mask[6:, 7:].sum() == 0
    back = both.select(torch.arange(10) < 6)
    assert torch.equal(back.token_ids, first.token_ids)
    assert back.groups.tolist() == first.groups.tolist()


def test_entropy_is_that_of_the_tempered_distribution_and_a_bonus_raises_it(small_policy: Policy) -> None:
    rollouts = make_rollouts(small_policy)
    columns = slice(0, L - 1)
    with torch.no_grad():
        log_probs, entropy = small_policy.log_probs_and_entropy(rollouts.token_ids, columns, 0.7)
        logits = small_policy.model(rollouts.token_ids).logits[:, :-1] / 0.7
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logits).entropy())
    torch.testing.assert_close(log_probs, small_policy.log_probs(rollouts.token_ids, columns, 0.7))

    def after(coefficient: float) -> float:
        policy = copy.deepcopy(small_policy)
        step = make_step(policy, entropy_coefficient=coefficient, aggregation="token_mean", learning_rate=1e-3)
        measures = step.learn(Batch(rollouts, torch.zeros(N, dtype=torch.float64), step.options), 0)
        assert ("entropy" in measures) is bool(coefficient)
        with torch.no_grad():
            return float(policy.log_probs_and_entropy(rollouts.token_ids, columns, 1.0)[1].mean())

    assert after(0.0) < after(0.1)


def test_divergence_in_the_reward_comes_off_what_grpo_adds_up(small_policy: Policy) -> None:
    rollouts = make_rollouts(small_policy)
    step = make_step(small_policy, kl_reward_coefficient=0.5)
    step.normalizer = make_normalizer("grpo")
    assert step.reference is not None
    with torch.no_grad():
        for weights in step.reference.model.parameters():
            weights.mul_(0.9)
    own, reference = step.log_probs(rollouts)
    assert own is None
    found = step.advantages(step.with_penalty(rollouts, own, reference))
    mask = rollouts.completion_mask[:, 1:]
    assert reference is not None
    penalty = -0.5 * ((rollouts.log_probs[:, 1:] - reference) * mask).sum(1).double()
    alone = copy.copy(step)
    alone.specs = step.env.reward_specs
    column = penalty[:, None].numpy()
    only = Scores(column, column, applicable=np.ones((N, 1), bool), failed=np.zeros((N, 1), bool))
    expected = alone.advantages(rollouts.scored(only))
    assert found.abs().max() > 0.5
    torch.testing.assert_close(found, expected)


def test_prompts_that_are_too_long_are_not_trained_on(small_policy: Policy, vec: Any) -> None:
    class Growing(TextEnv[Task]):
        def tasks(self, split: str) -> list[Task]:
            return [Task("9" * n) for n in range(1, 9)]

        @reward(low=0, high=1)
        def any(self, task: Task, reply: str) -> float:
            return float(bool(reply))

    def trainer(limit: int | None) -> Trainer:
        options = OPTIONS.model_copy(update={"max_prompt_tokens": limit, "prompts": 4, "group_size": 2})
        return Trainer(
            small_policy,
            vec(Growing, 4, 2, "train"),
            vec(Growing, 2, 1, "eval"),
            normalizer=make_normalizer("grpo"),
            options=options,
            weights={},
            seed=0,
        )

    assert [len(task.prompt) for task in trainer(4).env.tasks] == [1, 2, 3, 4]
    assert len(trainer(None).env.tasks) == len(trainer(4).eval_env.tasks) == 8
    with pytest.raises(DeclarationError, match="none of 8 tasks of split 'train' is left"):
        trainer(0)


def test_memory_that_runs_out_in_the_optimizer_is_a_sentence(
    small_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    step = make_step(small_policy)
    monkeypatch.setattr(step.optimizer, "step", full)
    with pytest.raises(OutOfMemoryError, match="optimizer's state does not fit"):
        step.learn(Batch(make_rollouts(small_policy), ADVANTAGES, step.options), 0)
