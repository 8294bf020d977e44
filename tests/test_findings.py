"""docs/findings.md says what the committed entries say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gdpo_bench.advantages import list_normalizers
from gdpo_bench.leaderboard.files.schema import Seed

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks/findings.py"


@pytest.fixture
def tables(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    """What the tables are made of."""
    return benchmark("tables")


def test_tables_follow_from_the_entries() -> None:
    command = [sys.executable, str(SCRIPT), "--markdown", "docs/findings.md", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_cell_is_filled() -> None:
    """A cell is a dash where there is no such entry."""
    text = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    assert "| – |" not in text.replace("| `maxrl` | 10 | – | – | – |", "")


def test_every_estimator_was_applied_to_recorded_completions() -> None:
    entries = (json.loads(path.read_text("utf-8")) for path in (ROOT / "leaderboards/advantage").rglob("*.json"))
    applied = {entry["normalizer"]["name"] for entry in entries}
    assert set(list_normalizers()) - applied == {"mo_grpo"}  # another name of gdpo_no_bn


def test_differences_are_paired_and_bold_where_they_are_more_than_noise(tables: ModuleType) -> None:
    def measured(*values: float) -> dict[Seed, float]:
        return {Seed(warm_start=i, rl=i): value for i, value in enumerate(values)}

    base = measured(0.1, 0.5, 0.9, 0.3, 0.4, 0.6)
    clear = {seed: value + 0.2 + 0.01 * seed.rl for seed, value in base.items()}
    noisy = measured(0.3, 0.3, 0.8, 0.6, 0.2, 0.7)
    cells = [tables.paired_difference(one, base) for one in (clear, base, noisy)]
    text = tables.table(["what", "a", "b", "c", "d"], [("row", [*cells, None])])
    assert text.splitlines()[-1] == "| row | 6 | **+0.23 ±0.02** | +0.00 ±0.00 | +0.02 ±0.22 | – |"


def test_what_is_clear_alone_is_not_bold_in_a_table_of_much_noise(tables: ModuleType) -> None:
    rng = np.random.default_rng(0)

    def measured(shift: float) -> dict[Seed, float]:
        return {Seed(warm_start=i, rl=i): float(x) for i, x in enumerate(rng.normal(shift, 1, 10))}

    base = dict.fromkeys(measured(0), 0.0)
    seen = tables.paired_difference(measured(1.3), base)
    assert seen.p < 0.05
    noise = [tables.paired_difference(measured(0), base) for _ in range(40)]
    assert "**" in tables.table(["", "a"], [("row", [seen])])
    assert "**" not in tables.table(["", "a"], [("row", [seen]), *(("noise", [one]) for one in noise)])
