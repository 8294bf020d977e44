"""The declared table is true: what is claimed holds, what is excepted has a counterexample."""

import pytest

from gdpo_bench.advantages import list_normalizers
from gdpo_bench.conformance import CLAIMED, EXCEPTIONS, PROPERTIES, examine, implementation

CLAIMS = [(name, id) for name in CLAIMED for id in PROPERTIES if id not in EXCEPTIONS[name]]
DECLARED = [(name, id) for name in CLAIMED for id in EXCEPTIONS[name]]


@pytest.mark.parametrize(("name", "id"), CLAIMS)
def test_a_claimed_property_has_no_counterexample(name, id):
    found = examine(implementation(name, **CLAIMED[name]), PROPERTIES[id], examples=12)
    assert found.status == "holds", str(found)


@pytest.mark.parametrize(("name", "id"), DECLARED)
def test_a_declared_exception_has_a_counterexample(name, id):
    reason = EXCEPTIONS[name][id]
    found = examine(implementation(name, **CLAIMED[name]), PROPERTIES[id], reason=reason, shrink=False)
    assert found.status == "fails", str(found)


def test_every_builtin_normalizer_is_in_the_table():
    assert set(list_normalizers()) == {*CLAIMED, "mo_grpo"}
    assert set(EXCEPTIONS) == {*CLAIMED, "mo_grpo"}
    assert {id for declared in EXCEPTIONS.values() for id in declared} <= set(PROPERTIES)
