"""What a user sees who calls for advantages with something that cannot be."""

import numpy as np
import pytest
import torch

from gdpo_bench.advantages import (
    BatchError,
    DomainError,
    NormalizerOutputError,
    OptionError,
    compute_advantages,
    make_normalizer,
)
from gdpo_bench.core import RewardSpec, UnknownNameError

SPECS = (RewardSpec("format", 0, 1), RewardSpec("correct", -3, 3))
REWARDS = [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": [1.0, 2.0]}, r"shape \(N, K\).*got \(2,\).*rewards\[:, None\]"),
        ({"rewards": np.zeros((0, 2))}, r"all at least 1; got \(0, 2\)"),
        ({"rewards": [[1.0, 2.0], [1.0]]}, "Cannot read rewards"),
        ({"rewards": [["a", "b"]]}, "Cannot read rewards"),
        ({"groups": [0]}, "2 integers or texts, one a rollout.*shape \\(1,\\)"),
        ({"groups": [0.0, 1.0]}, "integers.*float"),
        ({"groups": [True, False]}, "integers.*bool"),
        ({"rewards": [[0.0, float("nan")], [0, 0]]}, "rollout 0 has nan for the reward in column 1.*`applicable`"),
        (
            {"rewards": [[0.0, 1.0], [0, float("-inf")]], "specs": SPECS},
            r"rollout 1 has -inf for the reward 'correct' \(column 1\)",
        ),
        ({"specs": SPECS[:1]}, "2 columns, but 1 specs were given: format"),
        ({"weights": [1.0]}, r"Weights must be 2 finite numbers, one a reward; got \[1.0\]"),
        ({"weights": [1.0, float("nan")]}, "Weights must be 2 finite numbers"),
        ({"weights": {"format": 1.0}}, "Weights by name need to know.*pass `names` or `specs`"),
        ({"names": ["format"]}, "2 columns, but 1 different names are needed: format"),
        ({"names": ["format", "format"]}, "2 different names are needed: format, format"),
        ({"names": ["a", "b"], "specs": SPECS}, "The specs name format, correct, and names a, b; leave names out"),
        ({"groups": None}, r"need `groups`.*rewards \(P, G, K\) do not"),
        ({"groups": ["a", 1.5]}, "integers or texts, all of one kind; got 1.5 among them"),
        ({"groups": ["a", None]}, "integers or texts, all of one kind; got None among them"),
        ({"rewards": [[0.0, "x"], [None, 0]]}, "Cannot read rewards as an array of numbers: could not convert"),
        ({"rewards": np.zeros((3, 2, 2)), "groups": [0, 1]}, r"Groups must be 6 integers or texts.*shape \(2,\)"),
        ({"lengths": [1, 2, 3]}, r"Lengths must be 2 token counts.*shape \(3,\)"),
        ({"lengths": [1, -2]}, "none negative.*smallest -2"),
        ({"applicable": [True, True]}, r"'applicable' must be bool of shape \(2, 2\).*\(2,\)"),
        ({"failed": [[0, 1], [1, 0]]}, "'failed' must be bool.*int64"),
    ],
)
def test_input_that_does_not_fit_is_explained(change, message):
    arguments = {"rewards": REWARDS, "groups": [0, 0]} | change
    with pytest.raises(BatchError, match=message):
        compute_advantages("gdpo", **arguments)


def test_a_weight_for_an_unknown_reward_lists_the_near_ones():
    with pytest.raises(UnknownNameError, match=r"'formats'. Did you mean 'format'\?"):
        compute_advantages("gdpo", REWARDS, [0, 0], specs=SPECS, weights={"formats": 1.0})


def test_scaling_by_range_needs_specs():
    with pytest.raises(DomainError, match="needs `specs`"):
        compute_advantages("grpo_scaled", REWARDS, [0, 0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda batch: [0.0, 0.0], "tensor of shape \\(2,\\); got list"),
        (lambda batch: batch.rewards, "tensor of shape \\(2,\\); got shape \\(2, 2\\)"),
        (lambda batch: batch.rewards[:, 0] / 0, r"gave nan for rollout 0, whose rewards are \[0.0, 1.0\]"),
    ],
)
def test_what_a_function_returns_is_checked(function, message):
    with pytest.raises(NormalizerOutputError, match=message):
        compute_advantages(function, REWARDS, [0, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": -1e-6}, "eps must be a finite number, at least 0; got -1e-06"),
        ({"eps": "nan"}, "eps must be a finite number"),
        ({"eps": "small"}, "Option eps of normalizer 'gdpo'.*got 'small'"),
        ({"ddof": 2}, "ddof must be 0 or 1; got 2"),
        ({"batch_norm": "perhaps"}, "Option batch_norm.*got 'perhaps'"),
        ({"missing": "drop"}, "Option missing.*'zero' or 'error'.*got 'drop'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        make_normalizer("gdpo", **options)


def test_an_unknown_option_lists_the_fields():
    with pytest.raises(UnknownNameError, match=r"option of normalizer 'gdpo' 'epsilon'.*Did you mean.*'eps'"):
        make_normalizer("gdpo", epsilon=1e-4)


def test_an_unknown_normalizer_lists_the_near_ones_and_says_how_to_bring_one():
    with pytest.raises(UnknownNameError, match=r"'gpdo'. Did you mean .*'gdpo'.*my_module:my_function"):
        compute_advantages("gpdo", REWARDS, [0, 0])


def test_rewards_that_require_gradients_are_detached():
    assert not compute_advantages("gdpo", torch.rand(2, 2, requires_grad=True), [0, 0]).requires_grad
