import json
from pathlib import Path

import pytest
import torch

from gdpo_bench.agent import checkpoint as module
from gdpo_bench.agent.checkpoint import Checkpoint, Checkpoints
from gdpo_bench.core import DataError
from gdpo_bench.core.files import WriteError


def at(step: int) -> Checkpoint:
    return Checkpoint(step, {"weights.safetensors": {"w": torch.full((3,), float(step))}}, {"rng": [1, 2, step]})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def test_the_newest_is_read_back_and_old_ones_are_removed(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() is None
    for step in (1, 2, 10):
        checkpoints.save(at(step))
    found = checkpoints.newest()
    assert found is not None
    assert (found.step, found.state) == (10, {"rng": [1, 2, 10]})
    assert found.tensors["weights.safetensors"]["w"].tolist() == [10.0] * 3
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["step-00000002", "step-00000010"]


@pytest.mark.parametrize("file", ["weights.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damage_is_named_and_the_one_before_can_be_used(checkpoints: Checkpoints, file: str, damage: str) -> None:
    checkpoints.save(at(1))
    checkpoints.save(at(2))
    path = checkpoints.folder / "step-00000002" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "cut" else content[:-9] + b"\x00" + content[-8:])
    with pytest.raises(DataError, match=r"step-00000002 is damaged .*Delete it to go on from the one before"):
        checkpoints.newest()
    for left in path.parent.iterdir():
        left.unlink()
    path.parent.rmdir()
    assert (found := checkpoints.newest())
    assert found.step == 1


def test_a_full_disk_leaves_the_older_checkpoint(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(at(1))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_flush", full)
    with pytest.raises(WriteError, match=r"No space left on device.*Older ones are unchanged"):
        checkpoints.save(at(2))
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000001"]


def test_what_a_killed_process_left_is_no_checkpoint(checkpoints: Checkpoints) -> None:
    checkpoints.save(at(1))
    part = checkpoints.folder / ".step-00000002.tmp"
    part.mkdir()
    (part / "weights.safetensors").write_bytes(b"half")
    assert (found := checkpoints.newest())
    assert found.step == 1
    checkpoints.save(at(2))
    assert not part.exists()


def test_another_format_is_refused(checkpoints: Checkpoints) -> None:
    checkpoints.save(at(1))
    path = checkpoints.folder / "step-00000001" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        checkpoints.newest()
