"""The measurement of a real model's speed, at its smallest."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.seldom
@pytest.mark.skipif(not SCRIPT.exists(), reason="benchmarks are not part of the source distribution")
def test_the_table_is_printed_without_a_gpu() -> None:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| (.+?) \| ([0-9.]+) \|", done.stdout, re.MULTILINE))
    assert [name.partition(",")[0] for name in rows] == [
        "rollout 2 × 2 × 8",
        "whole step 2 × 2 × 8",
        "warm start",
        "1 runs side by side",
        "2 runs side by side",
    ]
    assert all(float(seconds) > 0 for seconds in rows.values())
