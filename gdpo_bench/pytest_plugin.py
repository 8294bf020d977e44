"""The pytest plug-in: one test for each conformance property.

It is loaded in every pytest run where this package is installed, so it imports nothing heavy
before a test asks for `gdpo_property`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MARK = "gdpo_conformance"


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(target, exceptions={{}}, examples=25): the advantage estimator that `gdpo_property` tests; "
        "exceptions map a property's id to why it does not hold.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes `gdpo_property` one case for each property."""
    if "gdpo_property" not in metafunc.fixturenames:
        return
    from gdpo_bench.conformance.properties import PROPERTIES  # noqa: PLC0415 (imports torch and hypothesis)

    metafunc.parametrize("gdpo_property", list(PROPERTIES), indirect=True)


@pytest.fixture
def gdpo_property(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Tests the marked estimator for one property; call it."""
    from gdpo_bench.conformance.implementation import implementation  # noqa: PLC0415
    from gdpo_bench.conformance.properties import PROPERTIES  # noqa: PLC0415
    from gdpo_bench.conformance.suite import examine  # noqa: PLC0415

    mark = request.node.get_closest_marker(MARK)
    if mark is None:
        pytest.fail(f"A test that takes gdpo_property needs @pytest.mark.{MARK}('module:function').", pytrace=False)
    target, exceptions, examples = _arguments(*mark.args, **mark.kwargs)

    def check() -> None:
        found = examine(
            implementation(target), PROPERTIES[request.param], examples=examples, reason=exceptions.get(request.param)
        )
        if found.status == "outside":
            pytest.skip(str(found))
        if not found.as_declared:
            pytest.fail(str(found), pytrace=False)

    return check


def _arguments(
    target: Any, exceptions: dict[str, str] | None = None, examples: int = 25
) -> tuple[Any, dict[str, str], int]:
    return target, exceptions or {}, examples
