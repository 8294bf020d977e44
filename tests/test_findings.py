"""docs/findings.md says what the committed entries say."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gdpo_bench.leaderboard.files.schema import Seed

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks/findings.py"


@pytest.fixture(scope="module")
def findings() -> ModuleType:
    """The script that makes the tables."""
    specification = importlib.util.spec_from_file_location("findings", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_tables_follow_from_the_entries() -> None:
    command = [sys.executable, str(SCRIPT), "--markdown", "docs/findings.md", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_cell_is_filled() -> None:
    """A cell is a dash where there is no such entry."""
    text = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    assert "| – |" not in text.replace("| `maxrl` | – | – |", "")


def test_differences_are_paired_and_bold_where_they_are_more_than_noise(findings: ModuleType) -> None:
    def measured(*values: float) -> dict[Seed, float]:
        return {Seed(warm_start=i, rl=i): value for i, value in enumerate(values)}

    base = measured(0.1, 0.5, 0.9, 0.3)
    clear = {seed: value + 0.2 + 0.01 * seed.rl for seed, value in base.items()}
    cells = findings.differences([(clear, base), (base, base), (measured(0.3, 0.3, 0.8, 0.6), base), (clear, {})])
    assert cells == ["**+0.22 ±0.02**", "+0.00 ±0.00", "+0.05 ±0.38", "–"]
