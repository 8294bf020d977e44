"""Every option of every normalizer changes a number, and none is accepted that changes none."""

import dataclasses
import itertools
import json
from typing import get_args, get_type_hints

import pytest
import torch

from gdpo_bench.advantages import (
    GDPO,
    GRPO,
    DomainError,
    OptionError,
    compute_advantages,
    list_normalizers,
    make_normalizer,
    normalizer_options,
)
from gdpo_bench.advantages.dgdo import DGDO
from gdpo_bench.conformance import CLAIMED
from gdpo_bench.core import RewardSpec, UnknownNameError

OTHERS = {
    "eps": [1e-2],
    "ddof": [0, 1],
    "whitening_eps": [0.1],
    "tau": [0.9],
    "momentum": [0.3],
    "k": [2],
    "floor": [0.5],
    "cap": [1.0],
    "gamma": [2.0],
    "delta": [0.1],
    "lam": [0.3],
    "outcome": [1],
    "gate": [1],
    "objective": [1],
    "correct": [1.4, 0.7],
    "passing": [1.4, 0.7],
    "margin": [1.0],
    "threshold": [0.4],
    "lr": [1.0],
    "target": [0.7],
    bool: [True, False],
}
"""What an option is set to that is not one of several words."""


def draw_sequences():
    """Sequences of three batches: K = 1, masks, uneven groups, groups of one, negative rewards, negative weights."""
    for seed in range(24):
        rng = torch.Generator().manual_seed(seed)
        n, k = 24, 1 + seed % 3
        groups = (
            torch.arange(n) // 6,
            torch.randint(0, 5, (n,), generator=rng),
            torch.tensor([9] + [4] * 8 + [2] * 15),
        )
        sequence = []
        for later in range(3):
            rewards = torch.randint(0, 4, (n, k), generator=rng) * torch.tensor([0.7, 1.0, 3.0])[:k]
            if seed % 7 == 0:  # below 0, and the best comes first
                rewards = rewards - 10 - later
            if seed % 7 == 1:
                rewards = rewards / (1 + later)
            if seed % 7 == 2:  # right or wrong
                rewards[:, 0] = (rewards[:, 0] > 1).to(rewards.dtype)
            batch = {"rewards": rewards.double(), "groups": groups[seed % 3]}
            if seed % 5 == 0:  # a group that is equal but for one rounding
                first = batch["groups"] == batch["groups"][-1]
                rewards[first] = torch.where(torch.rand(n, 1, generator=rng) < 0.5, 1.0, 1 + 2**-23)[first]
                batch["rewards"] = rewards.float()
            batch["lengths"] = torch.randint(1, 40, (n,), generator=rng)
            batch["specs"] = [RewardSpec(f"r{i}", 0, 3 + 2 * i) for i in range(k)]
            signs = [-1.0, 2.0, 0.5] if seed % 4 == 0 else [2.0, 1.0, 0.5]
            batch["weights"] = [abs(signs[0]), *signs[1:k]] if k == 1 else signs[:k][::-1]
            if seed % 2:
                batch["applicable"] = torch.rand(n, k, generator=rng) > 0.2
                batch["failed"] = torch.rand(n, k, generator=rng) > 0.8
                batch["applicable"][3] = False
            sequence.append(batch)
        yield sequence


SEQUENCES = list(draw_sequences())


NEEDED = {name: options for name, options in CLAIMED.items() if "target" in options}
"""Options without a default."""


def make(name, **options):
    return make_normalizer(name, **NEEDED.get(name, {}) | options)


def advantages(normalizer, sequence):
    """The advantages of all batches of a sequence, or None where one is outside the normalizer's domain."""
    try:
        return torch.cat([compute_advantages(normalizer, **batch) for batch in sequence])
    except DomainError:
        return None


def other_values(normalizer, option):
    kind, now = get_type_hints(type(normalizer))[option], getattr(normalizer, option)
    words = [word for word in get_args(kind) if isinstance(word, str)]
    return [value for value in words or OTHERS.get(option) or OTHERS[kind] if value != now]


OPTIONS = [(name, option) for name in list_normalizers() for option in normalizer_options(make(name))]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_option_changes_a_number(name, option):
    values = other_values(make(name), option)
    for sequence, value in itertools.product(SEQUENCES, values):
        plain = advantages(make(name), sequence)
        changed = advantages(make(name, **{option: value}), sequence)
        if plain is not None and changed is not None and (plain - changed).abs().max() > 1e-9:
            return
    pytest.fail(f"{option}={values} of {name} changes nothing")


@pytest.mark.parametrize("name", list_normalizers())
def test_options_are_what_an_entry_can_hold(name):
    options = normalizer_options(make(name))
    assert json.loads(json.dumps(options, allow_nan=False)) == options
    assert normalizer_options(make(name, **options)) == options


FIELDS = [
    (name, option)
    for name in list_normalizers()
    for option in (field.name for field in dataclasses.fields(make(name)) if field.init)
    if (name, option) not in OPTIONS
]


@pytest.mark.parametrize(("name", "option"), FIELDS)
def test_what_changes_no_number_is_no_option_of_the_name(name, option):
    for value in other_values(make(name), option):
        with pytest.raises(UnknownNameError, match=f"option of normalizer '{name}' '{option}'.*leave it out"):
            make(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("opo", {"eps": 1e-4}),
        ("opo", {"zero_variance": "zero"}),
        ("maxrl", {"ddof": 1}),
        ("pass_at_k", {"baseline": "leave_one_out"}),
        ("reinforce_pp", {"zero_variance": "eps"}),
        ("gd2po", {"grpo_if_single": True}),
    ],
)
def test_what_an_estimator_does_not_list_is_refused(name, options):
    with pytest.raises(UnknownNameError, match=f"option of normalizer '{name}'"):
        make_normalizer(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "idle"),
    [
        ("gdpo", {"batch_norm": False}, {"scope": "token"}),
        ("gdpo", {"scope": "group"}, {"eps_in_root": True}),
        ("grpo", {"scale": "none"}, {"eps": 1e-3}),
        ("gd2po", {"rule": "hard"}, {"tau": 0.3}),
        ("reinforce_pp_baseline", {"group_baseline": False}, {"singleton": "raw"}),
        ("dgdo", {"batch_norm": False}, {"whitening_eps": 1.0}),
    ],
)
def test_options_that_take_the_effect_from_others_do_not_go_with_them(name, options, idle):
    (option,) = idle
    with pytest.raises(UnknownNameError, match=f"'{option}'.*It changes no number beside"):
        make_normalizer(name, **options, **idle)
    assert option not in normalizer_options(make_normalizer(name, **options))
    assert option in normalizer_options(make_normalizer(name, **idle))


def test_an_option_without_effect_may_stand_as_ever():
    assert make_normalizer("gdpo_no_bn", scope="sequence") == make_normalizer("gdpo_no_bn")
    assert make_normalizer("grpo", scale="none", eps=1e-6) == make_normalizer("grpo_no_std")


@pytest.mark.parametrize("cls", [GRPO, GDPO, DGDO])
def test_options_are_listed_flat(cls):
    assert cls.__bases__ == (object,)


def test_options_are_checked_also_without_a_name():
    with pytest.raises(OptionError, match="scope must be one of 'sequence', 'token', 'group'; got 'batch'"):
        GDPO(scope="batch")
