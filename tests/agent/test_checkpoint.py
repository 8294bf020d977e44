import shutil
from pathlib import Path

import pytest
import torch

from gdpo_bench.agent import checkpoint as module
from gdpo_bench.agent.checkpoint import Checkpoint, Checkpoints
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
def test_damage_is_named_and_the_one_before_is_taken(
    checkpoints: Checkpoints, file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save(at(1))
    checkpoints.save(at(2))
    path = checkpoints.folder / "step-00000002" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "cut" else content[:-9] + b"\x00" + content[-8:])
    assert (found := checkpoints.newest())
    assert found.step == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "step-00000002 is damaged" in told


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


@pytest.mark.parametrize(
    ("old", "new"),
    [('\\"step\\": 2', '\\"step\\": 4'), ('\\"rng\\"', '\\"rnx\\"'), ('\\"format\\": 5', '\\"format\\": 99')],
)
def test_what_state_says_is_hashed_too(
    checkpoints: Checkpoints, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save(at(1))
    checkpoints.save(at(2))
    path = checkpoints.folder / "step-00000002" / "state.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert (found := checkpoints.newest())
    assert found.step == 1
    assert "state.json was changed" in capsys.readouterr().err


def test_only_checkpoints_are_read_as_such_and_without_a_whole_one_a_run_begins_anew(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save(at(1))
    for name in ("step-zzz", "step-00000009.bak", "step-"):
        (checkpoints.folder / name).mkdir()
    assert (found := checkpoints.newest())
    assert found.step == 1
    assert capsys.readouterr().err == ""
    (checkpoints.folder / "step-00000001" / "state.json").write_text("[]")
    assert checkpoints.newest() is None
    assert "is damaged" in capsys.readouterr().err


def test_a_checkpoint_under_another_name_or_of_another_run_is_not_taken(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save(at(1))
    Checkpoints(checkpoints.folder, keep=9, run="gdpo seed 1").save(at(2))
    shutil.copytree(checkpoints.folder / "step-00000001", checkpoints.folder / "step-00000009")
    assert (found := checkpoints.newest())
    assert found.step == 1
    told = capsys.readouterr().err
    assert "step-00000009 is damaged (it is of step 1)" in told
    assert "step-00000002 is damaged (it is of another run)" in told


def test_nesting_without_end_is_damage_too(checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints.save(at(1))
    checkpoints.save(at(2))
    (checkpoints.folder / "step-00000002/state.json").write_text("[" * 100_000)
    assert (found := checkpoints.newest())
    assert found.step == 1
    assert "step-00000002 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_stands_in_the_way_is_replaced_and_does_not_push_out_what_is_whole(
    checkpoints: Checkpoints, tmp_path: Path, kind: str
) -> None:
    checkpoints.save(at(1))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    for name in ("step-00000002", "step-00000008", "step-00000009", ".step-00000002.tmp"):
        path = checkpoints.folder / name
        match kind:
            case "file":
                path.touch()
            case "link":
                path.symlink_to(elsewhere)
            case "folder":
                path.mkdir()
    checkpoints.save(at(2))
    assert (found := checkpoints.newest())
    assert found.step == 2
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["step-00000001", "step-00000002"]
    assert (elsewhere / "kept").exists()
