"""Weights that change while a policy is trained."""

import json

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from gdpo_bench.advantages import DomainError, compute_advantages, make_normalizer, scheduled
from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.advantages.state import load_normalizer_state, normalizer_state, state_unchanged
from gdpo_bench.core import RewardSpec, UnknownNameError
from gdpo_bench.core.schedules import ScheduledWeight, starting_weights

SPECS = (RewardSpec("correct", 0, 1), RewardSpec("format", 0, 1))
READ = TypeAdapter(ScheduledWeight)


def batch(mean):
    """Four rollouts whose rewards differ, with a mean of `correct`."""
    return [[mean - 0.1, 1.0], [mean + 0.1, 0.0], [mean + 0.1, 0.0], [mean - 0.1, 1.0], [mean, 1.0], [mean, 0.0]]


def weights_in_force(choice, means):
    """The weights of `format` that a sequence of batches meets."""
    seen = []

    def spy(given):
        seen.append(given.weights[1].item())
        return given.weights.new_zeros(len(given))

    made = scheduled(spy, NormalizerChoice.model_validate(choice).weights)
    for mean in means:
        compute_advantages(made, batch(mean), [0] * 6, specs=SPECS)
    return seen


def choice(weight):
    return {"normalizer": "gdpo", "weights": {"format": weight}}


def test_linear_goes_from_one_weight_to_another_and_stays():
    seen = weights_in_force(choice("linear(1, 0, 10)"), [0.5] * 16)
    assert [seen[t] for t in (0, 5, 10, 15)] == [1, 0.5, 0, 0]


def test_step_takes_the_last_entry():
    seen = weights_in_force(choice({"schedule": "step", "weights": {20: 0.25, 0: 1}}), [0.5] * 21)
    assert seen[19:] == [1, 0.25]


def test_threshold_changes_after_the_batch_that_reaches_it_for_good():
    assert weights_in_force(choice("threshold(correct, 0.8, 1, 0.2)"), [0.4, 0.9, 0.6]) == [1, 1, 0.2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linear(1, 0, 10)", "linear(1 0 10)"),
        ("linear(1 0 10)", "linear(1 0 10)"),
        ("step(0: 1, 20: 0.25)", "step(0:1 20:0.25)"),
        ("threshold(correct 0.8 1 .2)", "threshold(correct 0.8 1 0.2)"),
    ],
)
def test_texts_and_what_an_entry_holds(text, shown):
    read = READ.validate_python(text)
    assert str(read) == shown
    assert READ.validate_python(shown) == read
    assert READ.validate_json(json.dumps(READ.dump_python(read, mode="json"))) == read


@pytest.mark.parametrize(
    "text", ["linear(1, 0)", "linear(1, 0, 0)", "step(5: 1)", "step(1, 2)", "cosine(1, 0, 10)", "nan"]
)
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValidationError):
        READ.validate_python(text)


def test_a_command_line_names_a_schedule():
    made = NormalizerChoice.model_validate("gdpo:weights.format=linear(1 0 10),eps=1e-4")
    assert starting_weights(made.weights) == {"format": 1}
    assert "linear(1 0 10)" in made.label


@pytest.mark.parametrize("name", ["gdpo", "dgdo"])
def test_going_on_from_a_state_is_as_if_it_had_never_stopped(name):
    text = {"normalizer": name, "weights": {"format": "threshold(correct, 0.6, 2, 0.5)", "correct": "linear(1, 0, 3)"}}
    whole, stopped, resumed = (NormalizerChoice.model_validate(text).make() for _ in range(3))
    means = [0.5, 0.7, 0.4]
    expected = [compute_advantages(whole, batch(mean), [0, 0, 0, 0, 1, 1], specs=SPECS) for mean in means]
    for mean in means[:2]:
        compute_advantages(stopped, batch(mean), [0, 0, 0, 0, 1, 1], specs=SPECS)
    load_normalizer_state(resumed, json.loads(json.dumps(normalizer_state(stopped))))
    assert normalizer_state(resumed)["step"] == 2
    assert normalizer_state(resumed)["reached"] == ["format"]
    assert torch.equal(compute_advantages(resumed, batch(0.4), [0, 0, 0, 0, 1, 1], specs=SPECS), expected[2])
    fresh = NormalizerChoice.model_validate(text).make()
    assert not torch.allclose(compute_advantages(fresh, batch(0.4), [0, 0, 0, 0, 1, 1], specs=SPECS), expected[2])


def test_a_batch_that_is_only_looked_at_is_no_step():
    made = NormalizerChoice.model_validate(choice("linear(1, 0, 2)")).make()
    before = normalizer_state(made)
    with state_unchanged(made):
        compute_advantages(made, batch(0.5), [0] * 6, specs=SPECS)
    assert normalizer_state(made) == before


def test_weights_that_do_not_change_need_no_schedule():
    assert NormalizerChoice.model_validate("gdpo:weights.format=2").make() == make_normalizer("gdpo")


def test_weights_that_a_normalizer_cannot_take_are_refused_before_they_are_reached():
    made = NormalizerChoice.model_validate({"normalizer": "rvpo", "weights": {"format": "linear(1, -1, 5)"}}).make()
    with pytest.raises(DomainError, match="rvpo needs weights that are not negative"):
        made.check_rewards(SPECS, {"correct": 1, "format": 1})
    waits = NormalizerChoice.model_validate(choice("threshold(corect, 0.8, 1, 0)")).make()
    with pytest.raises(UnknownNameError, match="corect"):
        waits.check_rewards(SPECS, {"correct": 1, "format": 1})
