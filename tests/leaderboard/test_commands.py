import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from gdpo_bench.cli.leaderboard import main
from gdpo_bench.leaderboard import entry_text
from gdpo_bench.leaderboard.files.schema import json_schema_text
from gdpo_bench.leaderboard.files.store import write_entry, write_measured

BOARD = Path(__file__).parents[2] / "leaderboards"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_folder(folder, measured):
    """What a finished run leaves."""
    for name in ("gdpo", "grpo"):
        write_measured(measured(name), folder / "runs" / "first" / "entries")
    (folder / "runs" / "first" / "job.json").write_text("{}")
    return "runs/first"


def leaderboard(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "gdpo_bench.leaderboard", *arguments],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
    )


def test_from_a_run_to_the_board(folder, run_folder, measured):
    submitted = leaderboard("submit", run_folder, cwd=folder)
    assert (submitted.returncode, submitted.stderr) == (0, "")
    assert (
        f"Filed gdpo on gdpo/TestMini-v0: leaderboards/training/gdpo/TestMini-v0/{measured().entry.id}.json"
        in submitted.stdout
    )
    validated = leaderboard("validate", cwd=folder)
    assert (validated.returncode, validated.stdout) == (
        0,
        "leaderboards is in no git checkout: whether an entry was changed or deleted cannot be seen.\n"
        "2 valid entries, 0 problems.\n",
    )
    assert "`gdpo`" in (folder / "leaderboards" / "README.md").read_text()


def test_a_users_mistake_is_one_message_and_status_2(folder):
    done = leaderboard("submit", "nothing.json", cwd=folder)
    assert done.returncode == 2
    assert done.stderr == "Error: Cannot read nothing.json: No such file or directory.\n"


def test_submitting_again_says_so_and_changes_no_byte(folder, run_folder, capsys):
    main(["submit", run_folder])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["submit", run_folder]) == 0
    assert capsys.readouterr().out.count("On the board already, same numbers") == 2
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_single_file_can_be_submitted_under_any_name_to_any_board(folder, measured, capsys):
    write_measured(measured(), folder).rename(folder / "mine.json")
    assert main(["submit", "mine.json", "--root", "other"]) == 0
    assert (folder / "other" / "training" / "gdpo" / "TestMini-v0" / f"{measured().entry.id}.json").is_file()


def test_one_bad_entry_among_good_ones_and_nothing_is_filed(folder, run_folder, capsys):
    bad = next((folder / run_folder / "entries").glob("*.json"))
    bad.write_text(bad.read_text().replace("0.5", "0.7"))
    assert main(["submit", run_folder]) == 2
    assert str(bad.name) in capsys.readouterr().err
    assert not (folder / "leaderboards").exists()


def test_a_damaged_board_takes_no_entries(folder, run_folder, measured, capsys):
    main(["submit", run_folder])
    damaged = next((folder / "leaderboards" / "training").rglob("*.json"))
    damaged.write_text(damaged.read_text()[:100])
    new = write_measured(measured("grpo_scaled"), folder)
    assert main(["submit", str(new)]) == 2
    message = capsys.readouterr().err
    assert "mend them first" in message
    assert damaged.name in message
    assert len(list((folder / "leaderboards").rglob("*.json"))) == 2


@pytest.mark.parametrize("paths", [[], ["empty"]])
def test_submitting_nothing_is_a_mistake(folder, paths, capsys):
    (folder / "empty").mkdir()
    assert main(["submit", *paths]) == 2
    assert "entr" in capsys.readouterr().err


def test_validate_prints_each_problem_and_counts_what_is_fine(folder, run_folder, entry, capsys):
    main(["submit", run_folder])
    files = sorted((folder / "leaderboards" / "training").rglob("*.json"))
    write_entry(entry("grpo_scaled"), files[0].parent)
    files[0].write_text("{")
    files[1].rename(files[1].with_name("other.json"))
    capsys.readouterr()
    assert main(["validate"]) == 1
    printed = capsys.readouterr()
    assert printed.out.endswith("\n1 valid entry, 2 problems.\n")
    assert len(printed.err.splitlines()) == 2


def test_validate_takes_files_parts_of_a_board_and_runs(folder, run_folder, capsys):
    main(["submit", run_folder])
    file = next((folder / "leaderboards" / "training").rglob("*.json"))
    capsys.readouterr()
    for path, valid in (
        (file, 1),
        (file.parent, 2),
        (file.parents[2], 2),
        (run_folder, 2),
        (f"{run_folder}/entries", 2),
    ):
        assert main(["validate", str(path)]) == 0
        assert f"{valid} valid" in capsys.readouterr().out.splitlines()[-1]
    file.rename(file.parents[1] / file.name)
    assert main(["validate", "leaderboards/training"]) == 1


def test_validate_of_what_is_not_there_fails(folder, capsys):
    assert main(["validate"]) == 1
    assert "leaderboards" in capsys.readouterr().err


def test_table_check_fails_until_the_table_follows_from_the_entries(folder, run_folder, capsys):
    main(["submit", run_folder])
    assert main(["table", "--check"]) == 0
    next((folder / "leaderboards" / "training").rglob("*.json")).unlink()
    before = (folder / "leaderboards" / "README.md").read_bytes()
    assert main(["table", "--check"]) == 1
    assert "leaderboard table" in capsys.readouterr().err
    assert (folder / "leaderboards" / "README.md").read_bytes() == before
    assert main(["table"]) == 0
    assert main(["table", "--check"]) == 0


def test_a_check_of_an_empty_board_says_nothing(tmp_path, capsys):
    assert main(["table", "--root", str(tmp_path)]) == 0
    assert main(["table", "--check", "--root", str(tmp_path)]) == 2
    assert f"No entries in {tmp_path}" in capsys.readouterr().err


def test_an_entry_filed_while_the_table_is_written_gets_into_it(folder, run_folder, entry, monkeypatch):
    from gdpo_bench.cli import leaderboard as commands

    main(["submit", run_folder])
    late = entry("grpo_scaled")
    write = commands.write_atomically

    def and_somebody_files_another(path, text):
        write(path, text)
        write_entry(late, folder / "leaderboards" / "training" / "gdpo" / "TestMini-v0")

    (folder / "leaderboards" / "README.md").unlink()
    monkeypatch.setattr(commands, "write_atomically", and_somebody_files_another)
    assert main(["table"]) == 0
    assert late.id in (folder / "leaderboards" / "README.md").read_text()


def test_the_committed_schema_is_what_the_code_generates(folder):
    assert main(["schema", "--root", "."]) == 0
    assert (folder / "schema.json").read_text() == json_schema_text() == (BOARD / "schema.json").read_text()


def test_the_schema_accepts_entries_and_refuses_others(entry, replay):
    validator = jsonschema.Draft202012Validator(json.loads(json_schema_text()))
    for good in (entry(), replay()):
        validator.validate(json.loads(entry_text(good)))
    fields = json.loads(entry_text(entry()))
    assert not validator.is_valid({**fields, "extra": 1})
    assert not validator.is_valid({name: value for name, value in fields.items() if name != "policy"})


def test_the_committed_board_is_valid_and_its_table_follows(capsys):
    assert main(["validate", str(BOARD)]) == 0
    assert main(["table", "--check", "--root", str(BOARD)]) == 0


def test_validate_says_which_entries_cannot_be_checked_against_their_rewards(folder, entry, capsys):
    write_entry(entry(), folder / "leaderboards" / "training" / "gdpo" / "TestMini-v0")
    assert main(["validate"]) == 0
    assert "1 entry of format 1 has no sidecar: whether the statistics" in capsys.readouterr().out


def test_new_entries_without_their_reward_vectors_are_not_taken(folder, run_folder, entry, capsys):
    old = write_entry(entry(), folder)
    assert main(["submit", str(old)]) == 2
    assert "format 1, which comes without the reward vectors behind it, is no longer taken" in capsys.readouterr().err
    next((folder / run_folder / "entries").glob("*.json.gz")).unlink()
    assert main(["submit", run_folder]) == 2
    assert "The sidecar is missing" in capsys.readouterr().err
    assert not (folder / "leaderboards").exists()
    # One that is on the board already stays there.
    write_entry(entry(), folder / "leaderboards" / "training" / "gdpo" / "TestMini-v0")
    assert main(["submit", str(old)]) == 0


def test_submit_supersedes_when_asked_to(folder, run_folder, measured, capsys):
    main(["submit", run_folder])
    write_measured(measured(luck=1), folder / "again" / "entries")
    assert main(["submit", "again", "--supersede"]) == 0
    filed = folder / "leaderboards/training/gdpo/TestMini-v0" / f"{measured(luck=1).entry.id}.json"
    assert json.loads(filed.read_text())["supersedes"] == measured().entry.id
    assert main(["validate"]) == 0


def test_a_sidecar_that_was_changed_on_the_board_is_noticed(folder, run_folder, measured, capsys):
    main(["submit", run_folder])
    path = folder / "leaderboards/training/gdpo/TestMini-v0" / f"{measured().entry.id}.json.gz"
    path.write_bytes(measured(luck=1).sidecar.compressed)
    assert main(["validate"]) == 1
    assert "it was changed, or is another entry's" in capsys.readouterr().err


@pytest.fixture
def checkout(folder, run_folder):
    """The board, committed."""
    main(["submit", run_folder])

    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, cwd=folder)

    git("init", "-q", "-b", "main")
    git("add", "leaderboards")
    git("commit", "-qm", "all")
    return git


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("what", ["*.json", "*.json.gz"])
def test_a_committed_entry_that_was_changed_or_deleted_is_rejected(folder, checkout, capsys, what, committed):
    assert main(["validate"]) == 0
    path = next((folder / "leaderboards" / "training").rglob(what))
    checkout("switch", "-qc", "forged")
    if what == "*.json":
        fields = json.loads(path.read_text())
        fields["provenance"]["author"] = "somebody else"  # which no hash covers
        path.write_text(json.dumps(fields, sort_keys=True, indent=2) + "\n")
    else:
        path.unlink()
    if committed:
        checkout("commit", "-qam", "forged")
    capsys.readouterr()
    assert main(["validate", "--base", "main"]) == 1
    error = capsys.readouterr().err
    assert path.name in error
    assert "since main. Entries are immutable: restore it" in error
    checkout("checkout", "-q", "main", "--", ".")
    checkout("commit", "-qam", "restored", "--allow-empty")
    assert main(["validate", "--base", "main"]) == 0
    assert main(["validate", "--base", "nowhere"]) == 2


def test_what_others_filed_meanwhile_is_not_missing(folder, checkout, measured, capsys):
    checkout("switch", "-qc", "mine")
    checkout("switch", "-q", "main")
    one = measured(luck=5)
    write_measured(one, folder / "late" / "entries")
    main(["submit", "late"])
    checkout("add", "leaderboards")
    checkout("commit", "-qm", "late")
    checkout("switch", "-q", "mine")
    assert main(["validate", "--base", "main"]) == 0
