"""What given replies have beside rewards."""

from pathlib import Path

import pytest

from gdpo_bench.cli.main import main
from gdpo_bench.leaderboard.files.recompute import moved_rows
from gdpo_bench.leaderboard.files.store import Measured, read_measured


@pytest.fixture
def scored(tmp_path: Path) -> dict[str, Measured]:
    """Normalizer → its entry on the demonstrations of a small environment, with the sidecar."""
    command = ["run", "--envs", "gdpo/MathMini-v1", "--policy", "demonstrations", "--normalizers", "opo", "grpo"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    found = [read_measured(path) for path in tmp_path.glob("*/entries/*.json")]
    return {one.entry.normalizer.name: one for one in found}


def test_characters_are_the_lengths_of_replies_for_who_cannot_do_without(scored: dict[str, Measured]) -> None:
    lengths = {}
    for name, measured in scored.items():
        assert measured.sidecar is not None
        ((vectors,),) = [run.evaluations for run in measured.sidecar.runs]
        lengths[name] = vectors.lengths
    assert lengths["grpo"] is None  # entries of others stay what they were
    assert lengths["opo"] is not None
    assert len(set(lengths["opo"].tolist())) > 5
    assert moved_rows(scored["opo"]) == []
