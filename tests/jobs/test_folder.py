import dataclasses
from pathlib import Path

import pytest

from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.core import files
from gdpo_bench.core.files import WriteError
from gdpo_bench.jobs.folder import RunFolder
from gdpo_bench.jobs.job import EnvChoice, Job, JobError, SeedPair, check
from gdpo_bench.jobs.run import RunRecord, TrainingTask
from gdpo_bench.jobs.start import WarmStarted

JOB = check({"envs": ["gdpo/MathMini-v1"]})
RECORD = RunRecord(
    steps=[0, 2],
    rewards={"format": [0.1, 1 / 3]},
    metrics={"format_rate": [0.1, 5e-324]},
    applicable={"format": 1.0},
    diagnostics={"groups": 2.0, "share": 0.1 + 0.2},
    tokens=123,
    wall_s=1.5,
    failures=["a \ud800 b"],
    vectors=b"\x1f\x8b\x00",
)


def task(env: str = "gdpo/MathMini-v1", normalizer: str = "gdpo", rl: int = 0, fingerprint: str = "") -> TrainingTask:
    return TrainingTask(
        env,
        EnvChoice.model_validate(env),
        NormalizerChoice.model_validate(normalizer),
        SeedPair(rl=rl),
        {"format": 1.0},
        TrainingOptions(),
        WarmStarted(Path("x"), "abc"),
        fingerprint,
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", JOB)


def test_result_is_read_back_bit_for_bit(folder: RunFolder) -> None:
    assert folder.load(task()) is None
    folder.save(task(), RECORD)
    assert folder.load(task()) == RECORD


def test_job_is_kept_as_a_file_that_can_be_run(folder: RunFolder) -> None:
    assert Job.load(str(folder.path / "job.yaml")) == JOB


def test_each_run_has_its_own_file_and_what_changed_is_run_again(folder: RunFolder) -> None:
    folder.save(task(), RECORD)
    others = [
        task(env="gdpo/MathMini-v1:limit=30"),
        task(normalizer="grpo"),
        task(normalizer="gdpo:eps=1e-3"),
        task(rl=1),
        task(fingerprint="the plug-in was edited"),
        dataclasses.replace(task(), weights={"format": 2.0}),
        dataclasses.replace(task(), policy=WarmStarted(Path("x"), "other demonstrations")),
    ]
    assert [folder.load(other) for other in others] == [None] * len(others)
    moved = dataclasses.replace(task(), policy=WarmStarted(Path("elsewhere"), "abc"))
    assert folder.load(moved) == RECORD


def test_names_of_any_length_and_characters_become_files(folder: RunFolder) -> None:
    options = ",".join(f"weights.{'w' * 40}{i}=1" for i in range(20))
    for wild in (task(normalizer=f"gdpo:{options}"), task(normalizer="mod:fn:path=../../é🙂\n*?")):
        folder.save(wild, RECORD)
        assert folder.load(wild) == RECORD
    assert len(list((folder.path / "results").iterdir())) == 2


def test_runs_of_a_job_never_overwrite_each_other_and_the_newest_is_resumed(tmp_path: Path) -> None:
    assert RunFolder.newest(tmp_path / "runs", JOB) is None
    made = [RunFolder.create(tmp_path / "runs", JOB).path for _ in range(11)]
    assert len(set(made)) == 11
    found = RunFolder.newest(tmp_path / "runs", JOB)
    assert found is not None
    assert found.path == made[-1]
    assert RunFolder.newest(tmp_path / "runs", check({"envs": ["gdpo/MathMini-v1"], "seeds": [9]})) is None


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"steps": [0]}', '{"steps": "x"}', "\xff", '{"rewards": {"a": [null]}}']
)
def test_damaged_result_is_named_with_what_to_do(folder: RunFolder, damage: str) -> None:
    folder.save(task(), RECORD)
    (file,) = (folder.path / "results").iterdir()
    file.write_text(damage, encoding="latin-1")
    with pytest.raises(
        JobError, match=r"MathMini-v1_gdpo_seed_0-0.*is damaged; delete it and start again with --resume"
    ):
        folder.load(task())


def test_reward_vectors_of_another_run_or_none_are_noticed(folder: RunFolder) -> None:
    folder.save(task(), RECORD)
    (vectors,) = (folder.path / "vectors").iterdir()
    assert vectors.read_bytes() == RECORD.vectors
    vectors.write_bytes(b"others")
    with pytest.raises(JobError, match=r"vectors/.*is damaged; delete it and start again with --resume"):
        folder.load(task())
    vectors.unlink()
    assert folder.load(task()) is None


def test_full_disk_is_named_and_older_results_stay(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    folder.save(task(), RECORD)
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match=r"MathMini-v1_gdpo_seed_0-1.*No space left on device"):
        folder.save(task(rl=1), RECORD)
    assert folder.load(task()) == RECORD
    assert folder.load(task(rl=1)) is None


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"Cannot make the run folder .*file/job-.*--out"):
        RunFolder.create(tmp_path / "file", JOB)


def test_a_result_that_was_changed_is_refused_in_a_sentence(folder: RunFolder) -> None:
    folder.save(task(), RECORD)
    (path,) = (folder.path / "results").iterdir()
    text = path.read_text()
    changes = [
        ('"groups": 2.0', '"groups": 3.0'),
        ('"tokens": 123', '"tokens": -5'),
        ('"wall_s": 1.5', '"wall_s": 2.5'),
    ]
    for old, new in changes:
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(JobError, match="is damaged; delete it"):
            folder.load(task())
    for damaged in (text[:-20], "[]", "{}", '{"sha256": 5}', "[" * 100_000):
        path.write_text(damaged)
        with pytest.raises(JobError, match="is damaged; delete it"):
            folder.load(task())
    path.write_text(text)
    assert folder.load(task()) == RECORD


def test_a_result_of_another_run_is_not_taken(folder: RunFolder) -> None:
    folder.save(task(), RECORD)
    (path,) = (folder.path / "results").iterdir()
    first = path.read_text()
    path.unlink()
    folder.save(task(rl=1), RECORD)
    (path,) = (folder.path / "results").iterdir()
    path.write_text(first)
    with pytest.raises(JobError, match=r"seed_0-1.*is damaged; delete it.*the result of another run"):
        folder.load(task(rl=1))


def test_two_runs_in_one_folder_are_one_too_many(folder: RunFolder) -> None:
    with folder.locked(), pytest.raises(JobError, match="Another run is going on in"), RunFolder(folder.path).locked():
        pass
    with folder.locked():
        pass


def test_a_lock_that_is_no_file_is_named(folder: RunFolder) -> None:
    (folder.path / ".lock").mkdir()
    with pytest.raises(JobError, match=r"Cannot lock .*\.lock: Is a directory"), folder.locked():
        pass
