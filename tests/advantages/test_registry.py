"""Normalizers by name, from packages, and from a module of the user's own."""

import json
import sys
from dataclasses import dataclass
from importlib import metadata

import pytest
import torch

from gdpo_bench.advantages import (
    GDPO,
    OptionError,
    compute_advantages,
    list_normalizers,
    make_normalizer,
    normalizer_options,
    register_normalizer,
    registry,
)
from gdpo_bench.core import RegistrationError, UnknownNameError

REWARDS, GROUPS = [[0.0, 1.0], [1.0, 1.0]], [0, 0]


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a module beside the user, who starts in that folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def test_variants_are_configurations_of_one_class():
    assert make_normalizer("gdpo_no_bn") == GDPO(batch_norm=False)
    assert make_normalizer("gdpo_no_bn", batch_norm=True) == make_normalizer("gdpo")


def test_text_options_are_read_by_type():
    made = make_normalizer("gdpo", eps="1e-4", batch_norm="false", ddof="0", missing="zero")
    assert made == GDPO(eps=1e-4, batch_norm=False, ddof=0, missing="zero")


def test_options_pin_every_degree_of_freedom_as_json():
    options = normalizer_options(make_normalizer("gdpo", eps=1e-4))
    assert options["eps"] == 1e-4
    assert options.keys() >= {"batch_norm", "ddof", "missing", "failed"}
    assert json.loads(json.dumps(options)) == options
    assert make_normalizer("gdpo", **options) == GDPO(eps=1e-4)


def test_a_function_and_a_dataclass_can_be_registered():
    @register_normalizer("first_reward")
    def first(batch):
        return batch.rewards[:, 0]

    @register_normalizer("half", factor=0.5)
    @register_normalizer("scaled")
    @dataclass(frozen=True)
    class Scaled:
        factor: float = 1.0

        def __call__(self, batch):
            return self.factor * batch.rewards.sum(1)

    assert {"first_reward", "half", "scaled"} <= set(list_normalizers())
    assert compute_advantages("first_reward", REWARDS, GROUPS).tolist() == [0, 1]
    assert compute_advantages("half", REWARDS, GROUPS).tolist() == [0.5, 1]
    with pytest.raises(OptionError, match="takes no options, got eps"):
        make_normalizer("first_reward", eps=1)


@pytest.mark.parametrize(
    ("name", "options", "thing", "message"),
    [
        ("gdpo", {}, lambda batch: batch, "already registered, by gdpo_bench.advantages.gdpo:GDPO"),
        ("my:own", {}, lambda batch: batch, "letters, digits"),
        ("own", {}, 3, "a normalizer is a function of a RewardBatch or a dataclass"),
        ("own", {}, dict, "a normalizer is a function"),
        ("own", {"eps": 1}, lambda batch: batch, "which has no options to preset"),
    ],
)
def test_registrations_that_cannot_be_are_explained(name, options, thing, message):
    with pytest.raises(RegistrationError, match=message):
        register_normalizer(name, **options)(thing)


def test_a_registration_without_a_name_is_told_where():
    with pytest.raises(RegistrationError, match=r'@register_normalizer\("half"\)\. \(.*test_registry.py, line'):

        @register_normalizer
        def half(batch):
            return batch.rewards[:, 0] / 2


def test_a_preset_option_must_exist():
    with pytest.raises(UnknownNameError, match="Did you mean 'batch_norm'"):
        register_normalizer("own", batchnorm=False)(GDPO)


def test_module_and_function_reach_a_file_beside_the_user(plugin):
    plugin("own_advantages", "def centred(batch):\n    return batch.rewards.sum(1) - batch.rewards.sum(1).mean()\n")
    assert compute_advantages("own_advantages:centred", REWARDS, GROUPS).tolist() == [-0.5, 0.5]
    options = normalizer_options(make_normalizer("own_advantages:centred"))
    assert options["implementation"] == "own_advantages:centred"
    assert len(options["source_sha256"]) == 64


def test_module_and_class_take_options_and_pin_their_source(plugin):
    plugin(
        "own_class",
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Half:\n"
        "    factor: float = 0.5\n"
        "    def __call__(self, batch):\n"
        "        return self.factor * batch.rewards[:, 0]\n"
        "quarter = Half(0.25)\n",
    )
    assert compute_advantages("own_class:Half", REWARDS, GROUPS).tolist() == [0, 0.5]
    assert compute_advantages("own_class:quarter", REWARDS, GROUPS).tolist() == [0, 0.25]
    options = normalizer_options(make_normalizer("own_class:Half", factor="2"))
    assert options["factor"] == 2.0
    assert options["implementation"] == "own_class:Half"


def test_module_and_name_reach_what_importing_the_module_registers(plugin):
    plugin(
        "own_name",
        "from gdpo_bench.advantages import register_normalizer\n"
        "@register_normalizer('from-own-name')\n"
        "def anything(batch):\n    return batch.rewards[:, 1]\n",
    )
    assert compute_advantages("own_name:from-own-name", REWARDS, GROUPS).tolist() == [1, 1]
    assert "from-own-name" in list_normalizers()


def test_a_typo_in_a_registered_name_lists_what_the_module_registers(plugin):
    plugin(
        "own_typo",
        "from gdpo_bench.advantages import register_normalizer\n"
        "@register_normalizer('from-own-typo')\n"
        "def anything(batch):\n    return batch.rewards[:, 1]\n",
    )
    with pytest.raises(UnknownNameError, match=r"Did you mean 'from-own-typo'\? Known: anything, from-own-typo\.$"):
        make_normalizer("own_typo:from-own-tpyo")


def test_a_function_that_is_called_like_a_registered_normalizer_is_the_modules_own(plugin):
    plugin("own_gdpo", "def gdpo(batch):\n    return batch.rewards[:, 0] + 7\n")
    assert compute_advantages("own_gdpo:gdpo", REWARDS, GROUPS).tolist() == [7, 8]


def test_a_module_without_such_a_thing_lists_what_it_has(plugin):
    plugin("own_few", "def centred(batch):\n    return batch\n")
    with pytest.raises(UnknownNameError, match="Did you mean 'centred'"):
        make_normalizer("own_few:centered")


def test_a_module_that_breaks_says_how(plugin):
    plugin("own_broken", "1 / 0\n")
    with pytest.raises(RegistrationError, match="importing 'own_broken' failed: ZeroDivisionError"):
        make_normalizer("own_broken:f")
    with pytest.raises(RegistrationError, match="importing 'no_such_module_here' failed: ModuleNotFoundError"):
        make_normalizer("no_such_module_here:f")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("async def f(batch):\n    return batch.rewards\n", "write it without `async def`"),
        ("def f(batch):\n    yield batch.rewards\n", "write it without `yield`"),
        ("def f():\n    return 1\n", r"takes \(\)"),
    ],
)
def test_what_is_no_function_of_a_batch_is_refused_with_its_place(plugin, source, told):
    name = f"own_wrong_{len(source)}"
    plugin(name, "\n" + source)
    with pytest.raises(RegistrationError, match=rf"{told}.*{name}\.py, line 2\)$"):
        make_normalizer(f"{name}:f")


def test_installed_packages_bring_normalizers_and_a_broken_one_fails_alone(plugin, monkeypatch):
    plugin("good_package", "def first(batch):\n    return batch.rewards[:, 0]\n")
    plugin("bad_package", "1 / 0\n")
    points = [
        metadata.EntryPoint("good", "good_package:first", registry.ENTRY_POINT_GROUP),
        metadata.EntryPoint("bad", "bad_package:first", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: points)
    assert {"good", "bad"} <= set(list_normalizers())
    assert "good_package" not in sys.modules
    assert compute_advantages("good", REWARDS, GROUPS).tolist() == [0, 1]
    with pytest.raises(RegistrationError, match=r"'bad' of an installed package cannot be loaded.*ZeroDivisionError"):
        make_normalizer("bad")
    assert torch.equal(compute_advantages("gdpo", REWARDS, GROUPS), compute_advantages(GDPO(), REWARDS, GROUPS))
