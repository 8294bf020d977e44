"""What the wheel holds, and what an installation offers."""

from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "gdpo_bench": ROOT / "gdpo_bench",
    "gdpo_envs": ROOT / "envs" / "gdpo_envs",
    "gdpo_sandbox": ROOT / "sandbox" / "gdpo_sandbox",
}


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Paths of the files in a wheel built from this checkout."""
    folder = str(tmp_path_factory.mktemp("wheel"))
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=folder, versions=["standard"])
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_puts_nothing_but_our_packages_into_site_packages(wheel_files: set[str]) -> None:
    installed = {name.split("/")[0] for name in wheel_files if ".dist-info/" not in name}
    assert installed == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_file_of_a_package(package: str, wheel_files: set[str]) -> None:
    """Also those that are not Python: job presets, `py.typed`."""
    source = PACKAGES[package]
    files = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {f"{package}/{path.relative_to(source).as_posix()}" for path in files}
    assert f"{package}/py.typed" in expected
    assert expected <= wheel_files


@pytest.mark.parametrize("point", metadata.distribution("gdpo-bench").entry_points, ids=lambda point: point.name)
def test_every_entry_point_leads_somewhere(point: metadata.EntryPoint) -> None:
    assert point.load() is not None
