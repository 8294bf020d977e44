"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    folder = os.environ.get("GDPO_BENCH_DATA")
    if not folder:
        pytest.skip("needs real data: set GDPO_BENCH_DATA to their folder")
    return Path(folder)
