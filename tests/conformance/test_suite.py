"""The search finds what is wrong, shrinks it, and reports it."""

import subprocess
import sys
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest
import torch

from gdpo_bench.advantages import DomainError, compute_advantages
from gdpo_bench.cli.normalizers import conformance
from gdpo_bench.conformance import PROPERTIES, examine, examine_all, implementation
from gdpo_bench.core import GdpoBenchError, RegistrationError, UnknownNameError
from gdpo_bench.core.errors import DataError

MODULE = """
import torch

def population_grpo(rewards, groups, weights):
    total = rewards @ torch.tensor(weights, dtype=rewards.dtype)
    groups = torch.as_tensor(groups)
    out = torch.empty_like(total)
    for group in groups.unique():
        rows = groups == group
        out[rows] = (total[rows] - total[rows].mean()) / (total[rows].std(correction=0) + 1e-12)
    return out
"""


def first_rollout_wins(batch):
    return (torch.arange(len(batch)) == 0).double()


def raw_sum(rewards, groups):
    return rewards.sum(1)


def even_only(rewards, groups):
    _, sizes = torch.tensor(groups).unique(return_counts=True)
    if len(sizes.unique()) > 1:
        raise DomainError("even groups only")
    return compute_advantages("gdpo", rewards, groups)


@dataclass(frozen=True)
class Half:
    factor: float = 0.5

    def __call__(self, batch):
        return self.factor * compute_advantages("gdpo", batch.rewards, batch.groups, weights=batch.weights)


def test_a_counterexample_is_as_small_as_can_be():
    found = examine(implementation(first_rollout_wins), PROPERTIES["rollout-order"])
    assert found.status == "fails"
    assert found.counterexample.rewards == [[0.0], [0.0]]
    assert "rewards = [[0.0], [0.0]]" in str(found)
    assert "expected [0, 1], got [1, 0]" in str(found)


@pytest.mark.parametrize(("name", "size"), [("grpo", 2), ("grpo_no_std", 4)])
def test_figure_3_fails_at_the_smallest_groups_that_collapse(name, size):
    found = examine(implementation(name), PROPERTIES["figure-3"])
    assert found.counterexample.groups.count(0) == size
    assert "the same for the groups [[0.0, 0.0]" in found.problem


def test_a_search_is_deterministic():
    first, second = (examine(implementation(raw_sum), PROPERTIES["shift"]) for _ in range(2))
    assert first == second
    assert first.status == "fails"


def test_what_a_function_raises_is_its_counterexample():
    def broken(batch):
        return batch.rewards.sum(1) / batch.no_such_thing

    assert "AttributeError" in examine(implementation(broken), PROPERTIES["finite"]).problem


def test_cases_outside_the_domain_are_not_failures():
    tested = implementation(even_only)
    assert examine(tested, PROPERTIES["shift"]).status == "holds"
    assert examine(tested, PROPERTIES["no-reward"]).status == "outside"
    assert examine(tested, PROPERTIES["weights-by-name"]).status == "outside"
    assert examine(tested, PROPERTIES["group-of-one"]).status != "fails"


def test_a_dataclass_is_tested_like_a_function():
    assert examine(implementation(Half(0.25)), PROPERTIES["group-mean-zero"]).status == "holds"


def test_a_declared_exception_that_holds_is_not_as_declared():
    found = examine(implementation("gdpo"), PROPERTIES["length"], reason="by design", examples=2)
    assert not found.as_declared
    assert "although declared not to (by design)" in str(found)


@pytest.mark.parametrize("function", [lambda rewards, strange: 0, lambda: 0])
def test_a_function_that_cannot_be_called_says_what_is_expected(function):
    with pytest.raises(RegistrationError, match="function of a RewardBatch, or of `rewards` and `groups`"):
        implementation(function)


def test_an_unknown_property_lists_the_near_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'shift'"):
        examine_all(implementation("gdpo"), properties=["shifts"])


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_estimator.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.delitem(sys.modules, "own_estimator", raising=False)
    return tmp_path


def test_the_command_tests_a_function_of_ones_own(own_module, capsys):
    target, shown = ("own_estimator:population_grpo",), ("shift", "rollout-order", "scale-per-reward")
    assert conformance(target, properties=shown, junit=own_module / "junit.xml") == 1
    printed = capsys.readouterr().out
    assert "own_estimator:population_grpo  ✓  ✓ ✗!" in printed
    assert "fails: Multiplying one reward" in printed
    suite = ElementTree.parse(own_module / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert conformance(target, properties=shown, exceptions=("scale-per-reward",)) == 0


def test_the_command_writes_sections_of_a_document(own_module):
    page = own_module / "page.md"
    page.write_text("before\n<!-- begin mine -->\nold\n<!-- end mine -->\nafter\n")
    conformance(("gdpo",), properties=("shift",), examples=3, markdown=page, section="mine")
    text = page.read_text()
    assert text.startswith("before\n<!-- begin mine -->\n| property | `gdpo` |")
    assert text.endswith("<!-- end mine -->\nafter\n")
    assert "old" not in text
    with pytest.raises(DataError, match="no section between '<!-- begin other -->'"):
        conformance(("gdpo",), properties=("shift",), examples=3, markdown=page, section="other")


def test_the_command_makes_a_new_document(own_module):
    page = own_module / "new.md"
    assert conformance(("gdpo",), properties=("shift",), examples=3, markdown=page) == 0
    assert page.read_text().startswith("<!-- begin ours -->\n| property | `gdpo` |")
    page.write_text(page.read_text() + "<!-- begin properties -->\n<!-- end properties -->\n")
    conformance(("gdpo",), properties=("shift",), examples=3, markdown=page)
    assert "why it matters" in page.read_text()


def test_the_pytest_plugin_makes_a_test_of_each_property(own_module):
    (own_module / "test_own.py").write_text(
        "import pytest\n"
        "@pytest.mark.gdpo_conformance('own_estimator:population_grpo', exceptions={\n"
        "    'scale-per-reward': 'sums first', 'figure-3': 'sums first', 'shift': 'wrongly declared'}, examples=5)\n"
        "def test_conformance(gdpo_property):\n"
        "    gdpo_property()\n"
        "def test_unmarked(gdpo_property):\n"
        "    gdpo_property()\n"
    )
    arguments = ["-q", "-rfs", "-p", "no:cacheprovider", "-k", "shift or figure or scale or no-reward"]
    plugin = [] if _installed() else ["-p", "gdpo_bench.pytest_plugin"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *arguments], capture_output=True, text=True, check=False
    )
    assert "FAILED test_own.py::test_conformance[shift]" in run.stdout
    assert "shift holds, although declared not to (wrongly declared)" in run.stdout
    assert "test_conformance[figure-3]" not in run.stdout
    assert "needs @pytest.mark.gdpo_conformance" in run.stdout
    assert "SKIPPED" in run.stdout


def _installed():
    from importlib import metadata

    return any(point.value == "gdpo_bench.pytest_plugin" for point in metadata.entry_points(group="pytest11"))


def test_a_search_needs_cases():
    with pytest.raises(GdpoBenchError, match="--examples must be at least 1; got 0"):
        conformance(("gdpo",), examples=0)
