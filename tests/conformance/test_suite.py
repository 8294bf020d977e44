"""The search finds what is wrong, shrinks it, and reports it."""

import re
import subprocess
import sys
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest
import torch

from gdpo_bench.advantages import DomainError, compute_advantages
from gdpo_bench.cli.normalizers import conformance
from gdpo_bench.conformance import PROPERTIES, CannotCallError, examine, examine_all, implementation
from gdpo_bench.core import GdpoBenchError, RegistrationError, UnknownNameError
from gdpo_bench.core.errors import DataError

MODULE = """
import torch

def population_grpo(rewards, groups, weights):
    total = rewards @ weights
    out = torch.empty_like(total)
    for group in groups.unique():
        rows = groups == group
        out[rows] = (total[rows] - total[rows].mean()) / (total[rows].std(correction=0) + 1e-12)
    return out

def never(rewards, groups):
    return undefined_name

def sometimes(rewards, groups):
    if rewards.shape[1] == 3:
        raise ValueError("two rewards at most")
    return rewards[:, 0] * 0.0
"""


def first_rollout_wins(batch):
    return (torch.arange(len(batch)) == 0).double()


def raw_sum(rewards, groups):
    return rewards.sum(1)


def even_only(rewards, groups):
    _, sizes = groups.unique(return_counts=True)
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


def test_a_function_that_raises_on_an_ordinary_batch_cannot_be_called():
    def broken(batch):
        return batch.rewards.sum(1) / batch.no_such_thing

    with pytest.raises(CannotCallError, match=r"no attribute 'no_such_thing' \(.*test_suite.py, line \d+\).*`groups`"):
        implementation(broken)


@pytest.mark.parametrize("returned", [None, [0.0] * 4, torch.zeros(3), torch.zeros(4, 1)])
def test_a_function_that_returns_something_else_cannot_be_called(returned):
    with pytest.raises(CannotCallError, match=r"cannot be called: expected a tensor of shape \(4,\), got"):
        implementation(lambda rewards, groups: returned)


def test_a_crash_is_no_counterexample_of_a_declared_exception():
    def broken(rewards, groups):
        if rewards.shape[1] == 1:
            return rewards[:, 0] * 0
        return rewards.sum(1) * 0 if len(groups) == 4 and groups[-1] == 1 else 1 / 0

    tested = implementation(broken)
    for reason in (None, "by design"):
        found = examine(tested, PROPERTIES["shift"], reason=reason)
        assert found.status == "crashes"
        assert not found.as_declared
        assert "ZeroDivisionError: division by zero" in found.problem
        assert f"{__file__}, line " in str(found)


def test_functions_are_handed_tensors():
    seen = {}

    def spy(rewards, groups, *, weights, lengths, applicable, failed, specs):
        seen.update(locals())
        return rewards @ weights * 0

    tested = implementation(spy)
    examine(tested, PROPERTIES["no-reward"])
    assert {seen[name].dtype for name in ("rewards", "weights")} == {torch.float64}
    assert {seen[name].dtype for name in ("groups", "lengths")} == {torch.int64}
    assert [mask.dtype for mask in (seen["applicable"], seen["failed"]) if mask is not None] == [torch.bool]
    assert len(seen["specs"]) == len(seen["weights"])
    examine(tested, PROPERTIES["dtype-and-device"])
    assert seen["weights"].dtype == seen["rewards"].dtype


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


def test_the_matrix_fits_a_terminal_of_eighty_columns(capsys):
    conformance(("reinforce_pp_baseline",), examples=1)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("reinforce_pp_baseline  ")]
    assert max(map(len, rows)) <= 80
    assert len(re.findall("[✓✗–?]", "".join(rows))) == len(PROPERTIES)


def test_the_command_says_once_that_a_function_cannot_be_called(own_module, capsys):
    everything = tuple(PROPERTIES)
    target = ("own_estimator:never",)
    assert conformance(target, exceptions=everything, junit=own_module / "junit.xml") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("NameError: name 'undefined_name' is not defined") == 1
    assert "own_estimator.py, line 13" in printed.err
    suite = ElementTree.parse(own_module / "junit.xml").getroot()[0]
    assert suite.get("errors") == "1"
    assert conformance(("own_estimator:never", "gdpo"), properties=("shift",), examples=2) == 1
    assert "gdpo" in capsys.readouterr().out


def test_the_command_says_once_where_a_function_crashes(own_module, capsys):
    shown = ("shift", "rollout-order", "group-labels")
    assert conformance(("own_estimator:sometimes",), properties=shown, exceptions=shown) == 1
    printed = capsys.readouterr().out
    assert printed.count("rewards = ") == 1
    assert "own_estimator.py, line 17) for: group-labels, shift" in printed or "for: rollout-order" in printed


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
