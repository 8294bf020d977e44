"""CodingMini in jobs: part of the bundled ones where there is an engine, left out visibly where there is none."""

from pathlib import Path

import pytest
from gdpo_envs.coding.mini import CodingMini

from gdpo_bench.cli.run import main
from gdpo_bench.jobs.job import Job, JobError, check
from gdpo_bench.jobs.plan import WARM_START_ENVS, plan
from gdpo_bench.leaderboard.files.store import read_entry

CODING = "gdpo/CodingMini-v1"
SHORT = ["--normalizers", "grpo", "--policy", "oracle"]


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.delenv("GDPO_SANDBOX_HOSTS", raising=False)


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("preset", ["default", "baselines"])
def test_bundled_job_goes_on_without_it_and_says_why(preset: str) -> None:
    planned = plan(Job.load(preset))
    assert CODING not in [env.description.id for env in planned.envs]
    assert len(planned.envs) == 2
    (text,) = planned.left_out
    assert text.startswith(f"{CODING} is left out of this job. No Docker engine answers at unix:///nowhere/docker.sock")
    assert CODING in [choice.id for choice in planned.warm_start_envs(planned.envs[0])]  # demonstrations need no engine


@pytest.mark.usefixtures("no_engine")
def test_command_prints_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*SHORT, "--out", str(tmp_path)]) == 0
    assert f"{CODING} is left out of this job." in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("job", [[], ["default"]])
def test_who_names_it_is_told_how_to_start_an_engine(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*job, *SHORT, "--envs", CODING, "--out", str(tmp_path)]) != 0
    told = capsys.readouterr().err
    assert f"{CODING} cannot be scored here. No Docker engine answers" in told
    assert "DOCKER_HOST" in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("no_engine")
def test_job_of_which_nothing_is_left_is_an_error() -> None:
    with pytest.raises(JobError, match="No environment of this job can be scored here"):
        plan(check({"envs": [CODING], "optional": [CODING]}))


def test_what_is_optional_does_not_change_the_jobs_key() -> None:
    envs = [CODING, "gdpo/MathMini-v1"]
    assert check({"envs": envs}).key == check({"envs": envs, "optional": [CODING]}).key


def test_all_jobs_share_its_demonstrations() -> None:
    assert CODING in WARM_START_ENVS


@pytest.mark.usefixtures("engine")
def test_oracle_earns_full_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT, "--envs", CODING, "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "pass_rate" in table
    assert "left out" not in table
    (entry,) = map(read_entry, tmp_path.glob("*/entries/*.json"))
    assert entry.provenance.programs == CodingMini().runs_programs_with()
