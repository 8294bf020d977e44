"""Numbers of the estimators of 2026, by hand and by their authors' code."""

import math

import pytest
import torch

from gdpo_bench.advantages import DomainError, OptionError, compute_advantages, make_normalizer
from gdpo_bench.advantages.state import normalizer_state
from gdpo_bench.core import Gate, RewardSpec, UnknownNameError

GROUPS = [0, 0, 0, 1, 1, 1]
DIFFERENT_SCALES = [[3, 1], [-1, 0], [1, 1], [2, 1], [0, 1], [-2, 1]]
"""Correctness in [−3, 3] and format in [0, 1]."""
OUTCOME_AND_PROCESS = [[1, 0.2], [1, 0.8], [0, 0.9], [1, 0.5], [0, 0.1], [1, 1]]
SCALES = (RewardSpec("correct", -3, 3), RewardSpec("format", 0, 1))
UNITS = (RewardSpec("outcome", 0, 1), RewardSpec("process", 0, 1))


def close(*values, tolerance=5.1e-5):
    return pytest.approx(values, abs=tolerance)


def advantages(normalizer, rewards, groups=None, **batch):
    groups = [0] * len(rewards) if groups is None else groups
    return compute_advantages(normalizer, torch.tensor(rewards, dtype=torch.float64), groups, **batch).tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("corr_grpo", (1.2078, -1.3804, 0.1725, 2.0000, 0, -2.0000)),
        ("gdpo_corr", (0.8784, -1.1999, 0.3215, 0.5569, 0, -0.5569)),
        ("dara", (1.1945, -1.5367, 0.5067, 0.6329, -0.0548, -0.7426)),
        ("dara_sym", (1.1309, -1.6393, 0.5083, 0.6226, 0, -0.6226)),
        ("sa_mrpo", (1.2647, -1.6030, 0.3383, 0.9264, 0, -0.9264)),
        ("saw", (1.1491, -1.5467, 0.3976, 0.7514, 0, -0.7514)),
        ("saw_grpo", (0.9325, -1.0560, 0.1236, 1, 0, -1)),
        ("dvao", (0.8966, -1.3449, 0.4483, 1.2247, 0, -1.2247)),
        ("dvao_raw", (1.1088, -1.2672, 0.1584, 1.2247, 0, -1.2247)),
        ("rvpo", (1.1979, -1.5080, 0.4376, 0.6314, 0.0748, -0.8337)),
        ("pareto_rank", (1, -1, 0, 1, 0, -1)),
        ("hvo", (0.9272, -1.0596, 0.1325, 1, 0, -1)),
        ("corpo", (2.3333, -2.6667, 0.3333, 2, 0, -2)),
    ],
)
def test_rewards_of_different_scales(name, expected):
    assert advantages(name, DIFFERENT_SCALES, GROUPS, specs=SCALES) == close(*expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("papo", (-0.1298, 1.2845, -1.1547, -0.1298, -1.1547, 1.2845)),
        ("na_zero_fill", (0.3149, 2.0799, -2.3948, 0.7071, -2.6390, 1.9319)),
        ("na_subgroup", (-0.5176, 1.9319, -1.4142, -0.5176, -1.4142, 1.9319)),
    ],
)
def test_outcome_and_process(name, expected):
    assert advantages(name, OUTCOME_AND_PROCESS, GROUPS) == close(*expected)
    turned = [row[::-1] for row in OUTCOME_AND_PROCESS]
    option = "outcome" if name == "papo" else "gate"
    assert advantages(f"{name}:{option}=outcome", turned, GROUPS, specs=UNITS[::-1]) == close(*expected)
    assert advantages(f"{name}:{option}=1", turned, GROUPS) == close(*expected)


@pytest.mark.parametrize("text", ["papo:correct=3", "na_zero_fill:passing=3", "na_subgroup:passing=3"])
def test_what_passes_may_be_another_value_of_a_shaped_outcome(text):
    shaped = [[6 * outcome - 3, process] for outcome, process in OUTCOME_AND_PROCESS]
    same = advantages(text.partition(":")[0], OUTCOME_AND_PROCESS, GROUPS)
    assert advantages(text, shaped, GROUPS) == close(*same)
    assert advantages(text.partition(":")[0], shaped, GROUPS) != close(*same)


@pytest.mark.parametrize(
    ("name", "options", "own"),
    [
        ("constrained_grpo", {"threshold": 0.1}, "logits"),
        ("lagrangian", {"target": 0.8, "lr": 0.5}, "multipliers"),
    ],
)
def test_the_objective_may_be_another_reward_than_the_first(name, options, own):
    first = make_normalizer(name, **options)
    named = make_normalizer(name, **options, objective="outcome")
    for batch in (OUTCOME_AND_PROCESS, OUTCOME_AND_PROCESS[::-1]):
        turned = [row[::-1] for row in batch]
        expected = advantages(first, batch, GROUPS)
        assert advantages(named, turned, GROUPS, specs=UNITS[::-1]) == pytest.approx(expected, abs=1e-12)
    assert sorted(normalizer_state(named)[own]) == pytest.approx(sorted(normalizer_state(first)[own]), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "first", "state", "second"),
    [
        (
            "constrained_grpo:threshold=0.1",
            (-0.2836, 0.5088, -0.2252, 0.2517, -1.0578, 0.8061),
            {"logits": (-0.01, 0.05)},
            (0.8130, -1.0549, 0.2419, -0.1973, 0.5067, -0.3094),
        ),
        (
            "lagrangian:target=0.8,lr=0.5",
            (0.5176, 0.6351, -1.1527, 0.5330, -1.1536, 0.6206),
            {"multipliers": (0.1083,)},
            (0.6574, -1.1508, 0.4934, -1.1460, 0.6954, 0.4507),
        ),
        (
            "ctwa:target=0.3,cap=0.95,lr=0.5",
            (-0.2182, 1.0911, -0.8729, 0.3046, -1.1169, 0.8123),
            {"ema": (0.3316, 0.1494), "log_weights": (-0.6931, -0.6179)},
            (0.8215, -1.1135, 0.2920, -0.8226, 1.1131, -0.2905),
        ),
    ],
)
def test_two_batches_with_a_state_between(text, first, state, second):
    name, _, options = text.partition(":")
    made = make_normalizer(name, **{key: float(value) for key, value in (o.split("=") for o in options.split(","))})
    assert advantages(made, OUTCOME_AND_PROCESS, GROUPS) == close(*first)
    for key, expected in state.items():
        assert normalizer_state(made)[key] == close(*expected)
    assert advantages(made, OUTCOME_AND_PROCESS[::-1], GROUPS) == close(*second)


def test_the_multipliers_of_the_second_batch():
    made = make_normalizer("lagrangian", target=0.8, lr=0.5)
    for batch in (OUTCOME_AND_PROCESS, OUTCOME_AND_PROCESS[::-1]):
        advantages(made, batch, GROUPS)
    assert normalizer_state(made)["multipliers"] == close(0.2167)


def test_tchebycheff_and_its_ideal():
    made = make_normalizer("tchebycheff")
    found = advantages(made, OUTCOME_AND_PROCESS, GROUPS, weights=[0.5, 0.5])
    assert found == close(-0.3203, 1.1209, -0.8006, 0, -1, 1)
    assert normalizer_state(made) == {"ideal": [1, 1]}
    below = [[-1, -2], [-3, -1]]
    apart, from_zero = (make_normalizer("tchebycheff", from_zero=value) for value in (False, True))
    advantages(apart, below), advantages(from_zero, below)
    assert (normalizer_state(apart), normalizer_state(from_zero)) == ({"ideal": [-1, -1]}, {"ideal": [0, 0]})


def test_corr_grpo_weighs_rewards():
    found = advantages("corr_grpo", DIFFERENT_SCALES, GROUPS, weights=[1, 0.5])
    assert found == close(1.1215, -1.2078, 0.0863, 2, 0, -2)


def test_corr_grpo_is_not_bounded_where_rewards_trade_off():
    rewards = [[0, 1], [3, 0], [0, 1], [3, 0]]
    assert advantages("corr_grpo", rewards) == close(-1000, 1000, -1000, 1000)
    assert advantages("corr_grpo:eps_in_root=false", rewards) == close(-1e6, 1e6, -1e6, 1e6, tolerance=1)
    assert advantages("corr_grpo:floor=0.25", rewards) == close(-2, 2, -2, 2)


def test_corr_grpo_of_one_reward_is_dr_grpo():
    assert advantages("corr_grpo", [[0], [1], [5]]) == close(-2, -1, 3)


@pytest.mark.parametrize("name", ["dara", "dara_sym", "rvpo", "sa_mrpo:ddof=1", "saw"])
def test_one_reward_is_gdpo(name):
    one = [row[:1] for row in DIFFERENT_SCALES]
    expected = advantages("gdpo", one, GROUPS)
    assert advantages(name, one, GROUPS, specs=SCALES[:1]) == close(*expected)


def test_amplification_is_capped():
    rare = [[1, 0], [0, 0]] * 30 + [[1, 1], [0, 0]]
    groups = [i // 2 for i in range(62)]
    wide, narrow = (advantages(f"dara_sym:cap={cap}", rare, groups)[-2] for cap in (100, 2))
    assert wide > 1.5 * narrow


def test_groups_count_once_in_densities_whatever_their_size():
    rewards = [[1, 1], [0, 1], [1, 1], [1, 0], [0, 1], [0, 0]]  # differ in 2 of 2 groups, and in 1 of 2
    by_hand = make_normalizer("gdpo", batch_norm=False)
    standardized = [advantages(by_hand, rewards, [0] * 2 + [1] * 4, weights=w) for w in ([1, 0], [0, 1])]
    total = torch.tensor(standardized[0]) + math.sqrt(2) * torch.tensor(standardized[1])
    expected = (total - total.mean()) / total.std()
    assert advantages("dara_sym", rewards, [0] * 2 + [1] * 4) == close(*expected.tolist())


def test_saturation_takes_a_reward_out():
    rewards = [[0, 1], [1, 1], [1, 1], [0, 1]]
    specs = (RewardSpec("a", 0, 1), RewardSpec("b", 0, 1))
    one = advantages("sa_mrpo", [row[:1] for row in rewards], specs=specs[:1])
    assert advantages("sa_mrpo", rewards, specs=specs) == close(*one)
    assert advantages("sa_mrpo:gamma=0,ddof=1", DIFFERENT_SCALES, GROUPS, specs=SCALES) == close(
        *advantages("gdpo", DIFFERENT_SCALES, GROUPS)
    )


@pytest.mark.parametrize("name", ["sa_mrpo", "saw", "saw_grpo", "dvao"])
def test_who_needs_declared_ranges_says_so(name):
    with pytest.raises(DomainError, match=f"{name} needs `specs`"):
        advantages(name, DIFFERENT_SCALES, GROUPS)


@pytest.mark.parametrize("name", ["sa_mrpo", "dvao", "rvpo", "tchebycheff"])
def test_negative_weights_are_refused_before_a_job_and_in_a_call(name):
    with pytest.raises(DomainError, match=f"{name} needs weights that are not negative"):
        advantages(name, DIFFERENT_SCALES, GROUPS, specs=SCALES, weights=[1, -1])
    with pytest.raises(DomainError, match=f"{name} needs weights that are not negative"):
        make_normalizer(name).check_rewards(SCALES, {"correct": 1, "format": -1})


def test_the_soft_minimum_goes_from_gdpo_to_the_worst_reward():
    expected = advantages("gdpo", DIFFERENT_SCALES, GROUPS, weights=[0.5, 0.5])
    assert advantages("rvpo:k=1e-6", DIFFERENT_SCALES, GROUPS) == close(*expected, tolerance=1e-4)
    rewards = [[0, 1], [1, 0], [1, 1], [0, 0.1]]
    worst = torch.stack(
        [torch.tensor(advantages("gdpo_no_bn", rewards, weights=weights)) for weights in ([1, 0], [0, 1])]
    ).amin(0)
    assert advantages("rvpo:k=1000", rewards) == close(*((worst - worst.mean()) / worst.std()).tolist(), tolerance=2e-3)


def test_a_reward_that_a_rollout_lacks_is_left_out_of_the_soft_minimum():
    rewards, applicable = [[0, 1], [1, 5], [2, 0]], [[True, True], [True, False], [True, True]]
    found = advantages("rvpo", rewards, applicable=applicable)
    first, second = [-1.0, 0.0, 1.0], [2**-0.5, None, -(2**-0.5)]
    sums = torch.tensor(
        [
            -math.log((math.exp(-a) + math.exp(-b)) / 2) if b is not None else a
            for a, b in zip(first, second, strict=True)
        ]
    )
    assert found == close(*((sums - sums.mean()) / sums.std()).tolist())


def test_a_declared_gate_says_where_it_passes():
    specs = (RewardSpec("outcome", 0, 1), RewardSpec("process", 0, 1, gate=Gate(on="outcome", at_least=0.5)))
    rewards = [[0.7, 1], [0.6, 0], [0, 1], [0.2, 1]]
    assert advantages("na_zero_fill:ddof=1,eps=1e-6", rewards, specs=specs) == close(
        *advantages("gdpo_no_bn", [[0.7, 1], [0.6, 0], [0, 0], [0.2, 0]])
    )


def test_a_dominated_rollout_never_beats_one_that_dominates_it_and_ties_are_ties():
    assert advantages("pareto_rank", [[0, 0]] * 4) == [0] * 4
    found = advantages("pareto_rank", [[2, 0], [0, 2], [1, 1], [0, 1], [0, 0]])
    assert found[0] == found[1] == found[2] > found[3] > found[4]
    assert advantages("pareto_rank", [[2, 0], [0, 2], [1, 1]], weights=[1, -1]) == close(1, -1, 0)


def test_pareto_rank_agrees_with_peeling_fronts_one_by_one():
    rng = torch.Generator().manual_seed(3)
    rewards = torch.randint(0, 4, (60, 3), generator=rng).double()
    groups = torch.randint(0, 9, (60,), generator=rng)
    credit = torch.zeros(60, dtype=torch.float64)
    for group in groups.unique():
        left, front = set((groups == group).nonzero().flatten().tolist()), 0
        while left:
            best = {
                i
                for i in left
                if not any((rewards[j] >= rewards[i]).all() and (rewards[j] > rewards[i]).any() for j in left)
            }
            for i in best:
                credit[i] = -front
            left, front = left - best, front + 1
    found = compute_advantages("pareto_rank", rewards, groups)
    torch.testing.assert_close(found, compute_advantages("grpo", credit[:, None], groups))


def test_a_group_below_the_threshold_is_pushed_away_as_a_whole():
    assert advantages("corpo", [[0], [0.5], [2], [2]], [0, 0, 1, 1]) == [-1, -0.5, 0, 0]
    assert advantages("corpo:threshold=0", [[0], [0.5]]) == [-0.25, 0.25]


@pytest.mark.parametrize("name", ["lagrangian", "ctwa"])
def test_a_target_that_is_left_out_is_asked_for_before_a_job_and_in_a_call(name):
    made = make_normalizer(name)
    with pytest.raises(OptionError, match="target has no default"):
        made.check_rewards(UNITS, {"outcome": 1, "process": 1})
    with pytest.raises(OptionError, match="target has no default"):
        advantages(made, OUTCOME_AND_PROCESS, GROUPS)


def test_targets_by_name_and_by_order():
    by_name = make_normalizer("lagrangian", target={"process": 0.8}, lr=0.5)
    found = advantages(by_name, OUTCOME_AND_PROCESS, GROUPS, specs=UNITS)
    assert found == close(0.5176, 0.6351, -1.1527, 0.5330, -1.1536, 0.6206)
    assert advantages(make_normalizer("lagrangian", target=[0.8], lr=0.5), OUTCOME_AND_PROCESS, GROUPS) == found
    with pytest.raises(UnknownNameError, match="reward in option target 'proces'"):
        advantages(make_normalizer("lagrangian", target={"proces": 0.8}), OUTCOME_AND_PROCESS, GROUPS, specs=UNITS)
    with pytest.raises(OptionError, match="target needs 1 values"):
        advantages(make_normalizer("lagrangian", target=[0.8, 0.1]), OUTCOME_AND_PROCESS, GROUPS)


@pytest.mark.parametrize("statistic", ["covariance", "correlation"])
def test_what_ctwa_averages_is_what_its_source_computes_group_by_group(statistic):
    rng = torch.Generator().manual_seed(2)
    rewards = torch.randint(0, 3, (260, 2), generator=rng).double()
    groups = torch.randint(0, 12, (260,), generator=rng)
    groups[groups == 3], groups[:140] = 4, 3
    rewards[:140] *= 1e-3
    rewards[0, 0] = 50  # beside it the rest of its group of 140 hardly has an advantage
    made = make_normalizer("ctwa", target=1.0, statistic=statistic)
    advantages = compute_advantages(made, rewards, groups)
    sizes = advantages.abs()
    kept = sizes <= 100 * sizes.quantile(0.5)
    assert not kept.all()
    found = []
    for group in groups.unique():
        rows = (groups == group) & kept
        if rows.sum() >= 2:
            ours = advantages[rows] - advantages[rows].mean()
            theirs = rewards[rows] - rewards[rows].mean(0)
            value = (ours[:, None] * theirs).mean(0)
            if statistic == "correlation":
                value = value / (ours.std(correction=0) * theirs.std(0, correction=0))
            found.append(value)
    assert normalizer_state(made)["ema"] == close(*torch.stack(found).mean(0).tolist(), tolerance=1e-9)


def test_constraints_lie_between_0_and_1():
    with pytest.raises(DomainError, match="constraints between 0"):
        make_normalizer("constrained_grpo").check_rewards(SCALES[::-1], {"correct": 1, "format": 1})
    make_normalizer("constrained_grpo").check_rewards(SCALES, {"correct": 1, "format": 1})
