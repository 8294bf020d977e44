"""Fixtures that several test folders share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    folder = os.environ.get("GDPO_BENCH_DATA")
    if not folder:
        pytest.skip("needs real data: set GDPO_BENCH_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def policy_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of warm-started policies of this test session alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDPO_BENCH_CACHE", str(folder))
        yield folder
