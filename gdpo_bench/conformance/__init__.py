"""The properties of advantage estimators, and a search for what violates them.

    gdpo-bench conformance my_package.module:function

In pytest (the plug-in comes with the package):

    @pytest.mark.gdpo_conformance("my_package.module:function", exceptions={"group-of-one": "by design"})
    def test_conformance(gdpo_property):
        gdpo_property()

Needs hypothesis: `pip install gdpo-bench[conformance]`.
"""

from gdpo_bench.conformance.cases import Case
from gdpo_bench.conformance.claims import CLAIMED, EXCEPTIONS
from gdpo_bench.conformance.implementation import (
    CannotCallError,
    Implementation,
    OutsideDomainError,
    implementation,
)
from gdpo_bench.conformance.properties import PROPERTIES, Property
from gdpo_bench.conformance.suite import Finding, examine, examine_all

__all__ = [
    "CLAIMED",
    "EXCEPTIONS",
    "PROPERTIES",
    "CannotCallError",
    "Case",
    "Finding",
    "Implementation",
    "OutsideDomainError",
    "Property",
    "examine",
    "examine_all",
    "implementation",
]
