"""The pytest plug-in: one test for each check of an environment, and for each conformance property.

An environment is checked by `pytest --gdpo-env acme/Sql-v0`, or by a test of its package:

    @pytest.mark.gdpo_env("acme/Sql-v0")
    def test_environment(gdpo_env_check):
        gdpo_env_check()

The plug-in is loaded in every pytest run where this package is installed, so it imports nothing heavy
before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gdpo_bench.authoring.env_under_check import EnvUnderCheck

MARK = "gdpo_conformance"
ENV_MARK = "gdpo_env"
_checked = pytest.StashKey[dict[str, "EnvUnderCheck"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let environments be named on the command line."""
    parser.getgroup("gdpo-bench").addoption(
        "--gdpo-env",
        action="append",
        default=[],
        metavar="ID",
        help="Also check this environment, one test for each check of `gdpo-bench check`; may be repeated.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    config.addinivalue_line(
        "markers", f"{ENV_MARK}(env, tasks=20, **options): the environment that `gdpo_env_check` checks."
    )
    config.addinivalue_line(
        "markers",
        f"{MARK}(target, exceptions={{}}, examples=25): the advantage estimator that `gdpo_property` tests; "
        "exceptions map a property's id to why it does not hold.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test one case for each check or each property, whichever it takes."""
    if "gdpo_env_check" in metafunc.fixturenames:
        from gdpo_bench.authoring import CHECKS  # noqa: PLC0415

        metafunc.parametrize("gdpo_env_check", list(CHECKS), indirect=True)
    if "gdpo_property" in metafunc.fixturenames:
        from gdpo_bench.conformance.properties import PROPERTIES  # noqa: PLC0415 (imports torch and hypothesis)

        metafunc.parametrize("gdpo_property", list(PROPERTIES), indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the environments that the command line names."""
    for id in config.getoption("gdpo_env"):
        from gdpo_bench.authoring import CHECKS  # noqa: PLC0415

        items += [EnvCheckItem.from_parent(session, name=f"{id}[{check}]", id=id, check=check) for check in CHECKS]


class EnvCheckItem(pytest.Item):
    """One check of an environment that the command line names."""

    def __init__(self, *, id: str, check: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._env_id, self._check = id, check

    def runtest(self) -> None:
        """Run the check."""
        _run_check(self.config, self._check, self._env_id)

    def reportinfo(self) -> tuple[Path, None, str]:
        """No line of a file, but a name."""
        return self.path, None, self.name


@pytest.fixture
def gdpo_env_check(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Runs one check on the marked environment; call it."""
    mark = request.node.get_closest_marker(ENV_MARK)
    if mark is None:
        pytest.fail(f"A test that takes gdpo_env_check needs @pytest.mark.{ENV_MARK}('acme/Sql-v0').", pytrace=False)
    return lambda: _run_check(request.config, request.param, *mark.args, **mark.kwargs)


def _run_check(config: pytest.Config, check: str, *args: Any, **kwargs: Any) -> None:
    from gdpo_bench.authoring.checks import examine  # noqa: PLC0415
    from gdpo_bench.authoring.env_under_check import EnvUnderCheck  # noqa: PLC0415
    from gdpo_bench.core.errors import GdpoBenchError  # noqa: PLC0415

    # All checks of an environment share what it makes of the replies.
    checked = config.stash.setdefault(_checked, {})
    key = repr((args, kwargs))
    problem = None
    try:
        if key not in checked:
            checked[key] = EnvUnderCheck(*args, **kwargs)
    except GdpoBenchError as error:
        problem = str(error)
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    result = examine(checked[key], check)
    if result.status == "skipped":
        pytest.skip(result.detail)
    if result.status == "failed":
        pytest.fail(f"{checked[key].name}: {result.detail}", pytrace=False)


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
