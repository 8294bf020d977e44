"""Examples run as they stand, and say what they say they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

SAYS = {
    "advise.py": ["format   grpo  ρ -0.1", "grpo would silence format: 0.", "Normalizer: gdpo (0."],
    "environment.py": ["Continue to a palindrome:", "[1. 0. 1.]", "'known_letters': array([1., 1., 1., 0.])"],
    "train.py": ["step 0: {'correct': ", "step 4: {", "step 8: {", "tokens drawn in"],
    "normalizer.py": ["grpo         [-0.71, 0.71, 1.0, -1.0]", "best_reward  [0.25, 0.25, 0.25, -0.75]"],
}


def test_every_example_is_tested() -> None:
    assert sorted(SAYS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [text for text in SAYS[name] if text not in done.stdout] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--envs", "environment:examples/Palindromes-v0"], "palindrome 0."),
        (["--envs", "gdpo/MathMini-v1", "--normalizers", "gdpo", "normalizer:best_reward"], "normalizer:best_reward"),
    ],
)
def test_an_example_shows_what_normalizers_make_of_demonstrations(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "gdpo_bench.run", "--policy", "demonstrations", "--out", str(tmp_path), *arguments]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
