"""The tabular twin: its worlds are those of Bits, its gradient is right, and the designs show what they are for."""

from typing import Any

import numpy as np
import pytest
from gdpo_envs.bits.env import Bits, BitsTask

from gdpo_bench.advantages import Normalizer, list_normalizers, make_normalizer
from gdpo_bench.conformance import CLAIMED
from gdpo_bench.core import DeclarationError, UnknownNameError
from gdpo_bench.core.scoring import score
from gdpo_bench.worlds.factorial import Factorial, cells, runs
from gdpo_bench.worlds.simulate import simulate
from gdpo_bench.worlds.twin import Outcome, TwinOptions, train
from gdpo_bench.worlds.world import make_world

FEW = TwinOptions(steps=3, prompts=4, group_size=4)


def make(name: str) -> Normalizer:
    return make_normalizer(name, **CLAIMED.get(name, {}))


def trained(normalizer: str, seed: int = 0, options: TwinOptions = FEW, **world: Any) -> Outcome:
    return train(make_world("bits", world), make(normalizer), {}, learning_rate=0.1, seed=seed, options=options)


@pytest.mark.parametrize(
    "options", [{}, {"rewards": 3, "conflict": 0.1, "scale": 2.0}, {"rewards": 4, "gated": True, "correlation": -0.6}]
)
def test_the_twin_earns_what_a_reply_to_bits_earns(options: dict[str, Any]) -> None:
    world, env = make_world("bits", options), Bits(**options)
    replies = [
        ("352" if large else "350") + "".join("01"[int(mark)] for mark in marks) for large, *marks in world.right
    ]
    scores = score(env, "bits", [BitsTask("352\n", "352")] * len(replies), replies)
    assert scores.raw.tolist() == world.rewards.tolist()
    assert env.reward_specs == world.specs


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.6])
def test_the_start_has_the_rates_and_dependence_that_are_asked_for(correlation: float) -> None:
    world = make_world("bits", {"rewards": 3, "rarity": 0.1, "common": 0.4, "correlation": correlation})
    assert world.start @ world.right == pytest.approx([0.4, 0.1, 0.1], abs=1e-6)
    both = world.start @ (world.right[:, 0] & world.right[:, 1])
    assert np.sign(round(both - 0.04, 6)) == np.sign(correlation)


def test_updates_follow_the_gradient_of_the_expected_reward() -> None:
    """One step from the start, with rewards as advantages: the change's direction against finite differences."""
    from gdpo_bench.worlds.twin import _Policy

    world = make_world("bits", {"scale": 1.0})
    policy = _Policy(world, TwinOptions(minibatches=1), seed=0)
    probabilities = policy.probabilities()
    everything = np.tile(np.arange(len(world.start)), (len(probabilities), 1))
    total = world.rewards.sum(axis=1)
    advantages = probabilities * total * len(total)  # each reply as often as the policy draws it
    policy.update(probabilities, everything, advantages, learning_rate=0.1)
    gradient = -policy._first / 0.1  # the first moment after one step is a tenth of the gradient

    def expected(z: Any) -> float:
        policy._z = z
        return float((policy.probabilities() @ total).mean())

    steps = 1e-5 * np.eye(len(gradient))
    numeric = [(expected(step) - expected(-step)) / 2e-5 for step in steps]
    assert gradient == pytest.approx(np.array(numeric), rel=1e-4)


def test_the_same_seed_gives_the_same_numbers_and_another_others() -> None:
    assert trained("gdpo") == trained("gdpo")
    assert trained("gdpo") != trained("gdpo", seed=1)


def test_normalizers_share_tasks_and_parameters() -> None:
    """What they differ in is the advantages alone: before the first step policies are equal."""
    none = TwinOptions(steps=1, prompts=4, group_size=4)
    assert trained("gdpo", options=none).area == trained("grpo", options=none).area


@pytest.mark.parametrize("normalizer", list_normalizers())
def test_every_registered_normalizer_works_by_name(normalizer: str) -> None:
    assert 0 <= trained(normalizer).all_right <= 1


def test_a_reward_that_applies_to_no_reply_counts_as_right() -> None:
    world = make_world("bits", {"rarity": 1e-9, "common": 0.9, "applicable": 1e-9})
    done = train(world, make_normalizer("gdpo"), {}, learning_rate=1e-9, seed=0, options=FEW)
    assert done.right["small1"] < 0.01
    assert done.all_right > 0.8


def test_noise_and_gates_reach_the_normalizer() -> None:
    """Behind a gate that is never passed the small reward teaches nothing; with noise alone it still teaches."""
    options = TwinOptions(steps=40)
    closed = trained("gdpo", options=options, common=1e-9, rarity=0.3, gated=True, scale=1.0)
    noisy = trained("gdpo", options=options, common=1e-9, rarity=0.3, noise=0.1, scale=1.0)
    assert closed.right["small1"] == pytest.approx(0.3, abs=0.05)
    assert noisy.right["small1"] > 0.9


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("bist", {}, UnknownNameError, "Did you mean 'bits'"),
        ("bits", {"rarety": 0.1}, UnknownNameError, "Did you mean 'rarity'"),
        ("bits", {"rewards": "many"}, DeclarationError, "rewards Input should be a valid integer"),
        ("tradeoff", {"bits": 9}, DeclarationError, r"bits must lie in \[1, 8\]"),
    ],
)
def test_worlds_that_cannot_be_had_are_refused(
    name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_world(name, options)


def learned(design: str, tmp_path: Any, **changed: Any) -> dict[str, int]:
    """Normalizer → runs that learned, of a bundled design cut down to one cell and learning rate."""
    small = Factorial.check(
        Factorial.load(design) | {"learning_rates": [0.3], "normalizers": ["grpo", "gdpo"]} | changed
    )
    rows, _ = simulate(small, tmp_path, workers=0)
    return {name: sum(row.all_right > 0.5 for row in rows if row.normalizer == name) for name in ("grpo", "gdpo")}


def test_gdpo_loses_where_the_small_reward_costs_a_little_of_the_large_one(tmp_path: Any) -> None:
    count = learned("conflict", tmp_path, factors={"conflict": [0.05]}, seeds=12)
    assert count["grpo"] >= count["gdpo"] + 3


def test_without_the_conflict_it_does_not(tmp_path: Any) -> None:
    count = learned("conflict", tmp_path, factors={"conflict": [0]}, seeds=12)
    assert count["gdpo"] >= count["grpo"]


def test_gdpo_wins_over_grpo_where_rewards_exclude_each_other(tmp_path: Any) -> None:
    count = learned("correlation", tmp_path, factors={"correlation": [-0.6]}, seeds=12, learning_rates=[0.1])
    assert count["gdpo"] >= count["grpo"] + 2


@pytest.mark.parametrize("design", ["main", "conflict", "correlation", "front"])
def test_bundled_designs_can_be_run_as_they_are(design: str) -> None:
    chosen = Factorial.check(Factorial.load(design))
    planned, left_out = runs(chosen)
    assert len(planned) == len(cells(chosen)) * len(chosen.normalizers) * len(chosen.learning_rates) * chosen.seeds
    assert left_out == []
