"""What a normalizer remembers, and what of it can be kept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from gdpo_bench.advantages import RewardBatch, StateError, compute_advantages, list_normalizers, make_normalizer
from gdpo_bench.advantages.state import (
    Stateful,
    check_nothing_is_hidden,
    check_state_is_offered,
    load_normalizer_state,
    normalizer_state,
    state_unchanged,
    what_it_holds,
)
from gdpo_bench.conformance import CLAIMED
from gdpo_bench.core import RewardSpec

SPECS = [RewardSpec("correct", 0, 1, "binary"), RewardSpec("format", 0, 1, "binary")]
GROUPS = [0, 0, 0, 1, 1, 1]
BATCHES = [
    [[0, 1], [1, 1], [0, 0], [1, 1], [0, 1], [0, 1]],
    [[1, 1], [1, 0], [0, 0], [0, 0], [0, 1], [1, 0]],
]


def advantages(normalizer: Any, rewards: list[list[int]]) -> torch.Tensor:
    return compute_advantages(normalizer, rewards, GROUPS, specs=SPECS, lengths=[1, 2, 3, 4, 5, 6])


@dataclass
class Counting:
    """Adds how often it was called before."""

    calls: int = field(default=0, init=False)

    def __call__(self, batch: RewardBatch) -> torch.Tensor:
        self.calls += 1
        return torch.full((len(batch),), float(self.calls - 1))


class Offering(Counting):
    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


class InTensors(Offering):
    def state_dict(self) -> dict[str, Any]:
        return {"calls": torch.tensor(self.calls)}


class Plain:
    """Remembers in an attribute that nothing declares."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __call__(self, batch: RewardBatch) -> torch.Tensor:
        self.seen.append(float(batch.rewards.sum()))
        return torch.full((len(batch),), sum(self.seen))


def closure() -> Callable[[RewardBatch], torch.Tensor]:
    total = 0.0

    def summing(batch: RewardBatch) -> torch.Tensor:
        nonlocal total
        total += float(batch.rewards.sum())
        return torch.full((len(batch),), total)

    return summing


def make(name: str) -> Any:
    return make_normalizer(name, **CLAIMED.get(name, {}))


@pytest.mark.parametrize("name", list_normalizers())
def test_every_normalizer_goes_on_from_its_state_as_if_it_had_never_stopped(name: str) -> None:
    whole, stopped, resumed = (make(name) for _ in range(3))
    check_state_is_offered(whole)
    held = what_it_holds(whole)
    for rewards in BATCHES:
        expected = advantages(whole, rewards)
    check_nothing_is_hidden(whole, held)
    advantages(stopped, BATCHES[0])
    load_normalizer_state(resumed, normalizer_state(stopped))
    assert torch.equal(advantages(resumed, BATCHES[1]), expected)


@pytest.mark.parametrize("name", list_normalizers())
def test_a_batch_that_is_only_looked_at_leaves_no_trace(name: str) -> None:
    looking, other = make(name), make(name)
    with state_unchanged(looking):
        advantages(looking, BATCHES[0])
    expected = advantages(other, BATCHES[1])
    assert torch.equal(advantages(looking, BATCHES[1]), expected)


def test_dgdo_remembers() -> None:
    fresh, used = make_normalizer("dgdo"), make_normalizer("dgdo")
    advantages(used, BATCHES[0])
    first, later = (advantages(one, BATCHES[1]) for one in (fresh, used))
    assert not torch.allclose(first, later)


@pytest.mark.parametrize("name", list_normalizers())
def test_who_remembers_offers_it(name: str) -> None:
    fresh, used = make(name), make(name)
    advantages(used, [[row[0], 2 * row[1]] for row in BATCHES[0]])
    first, later = (advantages(one, BATCHES[1]) for one in (fresh, used))
    assert torch.equal(first, later) != isinstance(fresh, Stateful)


def test_a_state_before_the_first_batch_is_one_too() -> None:
    fresh, other = make_normalizer("dgdo"), make_normalizer("dgdo")
    load_normalizer_state(fresh, normalizer_state(make_normalizer("dgdo")))
    assert torch.equal(advantages(fresh, BATCHES[0]), advantages(other, BATCHES[0]))


def test_momentum_is_the_share_of_the_old_weights() -> None:
    spreads = []
    for batch in BATCHES:
        rewards = torch.tensor(batch, dtype=torch.float64)
        spreads.append(torch.softmax(rewards.std(0) / (rewards.mean(0) + 1e-6), dim=0))
    normalizer = make_normalizer("dgdo", momentum=0.9)
    for batch in BATCHES:
        advantages(normalizer, batch)
    expected = 0.9 * spreads[0] + 0.1 * spreads[1]
    assert normalizer_state(normalizer)["weights"] == pytest.approx(expected.tolist(), abs=1e-12)
    assert (spreads[0] - spreads[1]).abs().max() > 1e-2


def test_a_field_that_is_no_option_must_be_offered() -> None:
    with pytest.raises(StateError, match=r"The normalizer Counting keeps calls from batch to batch.*state_dict"):
        check_state_is_offered(Counting())
    check_state_is_offered(Offering())


def test_a_state_that_json_does_not_hold_is_refused_before_there_is_much_of_it() -> None:
    with pytest.raises(StateError, match=r"InTensors: state_dict\(\) must return a dict of numbers.*tensor\(0\)"):
        check_state_is_offered(InTensors())


@pytest.mark.parametrize("make", [Plain, closure])
def test_what_changed_without_being_offered_is_noticed(make: Callable[[], Any]) -> None:
    normalizer = make()
    check_state_is_offered(normalizer)
    held = what_it_holds(normalizer)
    check_nothing_is_hidden(normalizer, held)
    advantages(normalizer, BATCHES[0])
    with pytest.raises(
        StateError, match=r"changed while it was called, which no checkpoint would hold.*checkpoint_every"
    ):
        check_nothing_is_hidden(normalizer, held)
