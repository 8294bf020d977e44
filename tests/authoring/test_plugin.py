"""Checks run as pytest items, with failures that can be read."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.gdpo_env("gdpo/MathMini-v1", tasks=2, limit=2)
def test_environment(gdpo_env_check):
    gdpo_env_check()

def test_unmarked(gdpo_env_check):
    gdpo_env_check()
"""


def run(folder: Path, *arguments: str) -> str:
    installed = any(p.value == "gdpo_bench.pytest_plugin" for p in metadata.entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "gdpo_bench.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.slow
def test_a_marked_test_has_one_item_for_each_check(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(TESTS)
    printed = run(tmp_path, "-rA", "-k", "reference or splits")
    assert "PASSED test_own.py::test_environment[splits]" in printed
    assert "FAILED test_own.py::test_environment[reference]" in printed
    assert "gdpo/MathMini-v1: Reward 'length' gives 0 of 1 for the reference" in printed
    assert "needs @pytest.mark.gdpo_env('acme/Sql-v0')" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_the_command_line_names_environments(tmp_path: Path) -> None:
    arguments = ["--gdpo-env", "gdpo/MathMini-v1:limit=2", "--gdpo-env", "gdpo/MathMin-v0"]
    printed = run(tmp_path, "-v", *arguments, "-k", "reference or splits")
    assert "gdpo/MathMini-v1:limit=2[splits] PASSED" in printed
    assert "gdpo/MathMini-v1:limit=2[reference] FAILED" in printed
    assert "Unknown environment 'gdpo/MathMin-v0'. Did you mean 'gdpo/MathMini-v1'" in printed
    assert "3 failed, 1 passed, 28 deselected" in printed
