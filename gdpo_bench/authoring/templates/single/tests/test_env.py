"""acme/Sql-v0 holds what trainers and the leaderboard rely on."""

from collections.abc import Callable

import pytest


@pytest.mark.gdpo_env("acme/Sql-v0")
def test_environment(gdpo_env_check: Callable[[], None]) -> None:
    """One test for each check of `gdpo-bench check acme/Sql-v0`."""
    gdpo_env_check()
