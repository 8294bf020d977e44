import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdpo_bench
from gdpo_bench.cli import run as run_module
from gdpo_bench.cli.main import main
from gdpo_bench.core.choices import parse_choice, split_words
from gdpo_bench.jobs.job import Job
from gdpo_bench.leaderboard.files.store import read_entry

ENV = "gdpo/MathMini-v1"
ORACLE = ["run", "--policy", "oracle", "--envs", ENV]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in a folder of its own, with the data folder and terminal width of no one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(os, "environ", os.environ.copy())  # --data-dir sets a variable for the workers
    return tmp_path


def entries(folder: Path) -> list[Any]:
    return [read_entry(path) for path in sorted(folder.glob("runs/*/entries/*.json"))]


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["-m", "gdpo_bench", "--help"], ["usage: gdpo-bench", "run", "leaderboard"]),
        (["-m", "gdpo_bench", "run", "--help"], ["--envs", "--normalizers", "--seeds", "--resume", "baselines"]),
        (["-m", "gdpo_bench.run", "--help"], ["usage: python -m gdpo_bench.run", "--policy", "--data-dir"]),
        (["-m", "gdpo_bench.leaderboard", "--help"], ["usage: python -m gdpo_bench.leaderboard", "submit", "validate"]),
    ],
)
def test_help_is_there(arguments: list[str], parts: list[str]) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for part in parts:
        assert part in done.stdout


@pytest.mark.parametrize("group", [[], ["leaderboard"], ["sandbox"]])
def test_a_list_of_commands_says_each_in_a_line_of_80_columns(
    group: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*group, "--help"])
    _, _, listed = capsys.readouterr().out.partition("(required)")
    lines = list(filter(None, (line.strip("│|╰╯─-+ ") for line in listed.splitlines())))
    assert len(lines) >= 5
    for line in lines:
        assert re.fullmatch(r"[•*] \w+ +[A-Z].{10,}\.", line), line


def test_sentences_of_help_do_not_break_where_docstrings_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert re.search(r"a bundled preset: .* Without it and without options, `default` runs\.", capsys.readouterr().out)


def test_policies_are_listed_and_their_options_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies"]) == 0
    printed = capsys.readouterr().out
    for word in ("mini", "small", "base", "hf:MODEL", "demonstrations", "oracle", "replay:FILE"):
        assert re.search(rf"^{word} +\w", printed, re.MULTILINE)
    assert main(["policies", "gguf"]) == 0
    assert "`hf:X:enable_thinking=false`" in capsys.readouterr().out  # and no emoji
    for name, positions in (("mini", 512), ("small", 2048), ("base", 4096)):
        assert main(["policies", name]) == 0
        assert re.search(rf"positions +{positions} +Tokens of prompt and reply", capsys.readouterr().out)
    assert main(["policies", "hf"]) == 0
    assert re.search(r"lora_rank +0 +Train adapters of this rank", capsys.readouterr().out)
    for name, message in (("smal", "Did you mean 'small'"), ("oracle", "The others have none.")):
        assert main(["policies", name]) == 2
        assert message in capsys.readouterr().err


def test_installed_command_is_there() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("gdpo-bench"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{gdpo_bench.__version__}\n"


def test_command_line_does_not_wait_for_torch() -> None:
    done = command(
        "-c", "import sys, gdpo_bench.cli.main; print({'torch', 'transformers', 'matplotlib'} & set(sys.modules))"
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("arguments", [[], ["rnu"], ["run", "--stesp", "3"], ["run", "--steps", "three"]])
def test_misuse_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "gdpo-bench --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope.yaml"], "Unknown job file or preset 'nope.yaml'. Known: answers, "),
        (["run", "--policy", "oracle", "--envs", "gdpo/MathMin-v0"], "Did you mean 'gdpo/MathMini-v1'"),
        (
            ["run", "--policy", "oracle", "--envs", "no_such_module:me/Env-v0"],
            "importing 'no_such_module' failed: ModuleNotFoundError",
        ),
        (["run", "--policy", "oracle", "--envs", f"{ENV}:max_digit=many"], "option max_digit must be int; got 'many'"),
        (["run", "--envs", "gdpo/ToolCallingMini-v1:eval_share=1"], "of gdpo/ToolCallingMini-v1 has no tasks"),
        (["run", "--policy", "oracle", "--envs", ""], "envs: List should have at least 1 item"),
        ([*ORACLE, "--normalizers", "gpdo"], "Unknown normalizer 'gpdo'. Did you mean"),
        ([*ORACLE, "--normalizers", "gdpo:esp=1"], "Did you mean 'eps'"),
        ([*ORACLE, "--normalizers", "gdpo:eps=["], "cannot read the value of eps, '['"),
        ([*ORACLE, "--normalizers", "gdpo:eps=small"], "valid number"),
        ([*ORACLE, "--normalizers", "gdpo:weights.formt=2"], "Did you mean 'format'"),
        (["run", "--steps", "3", "--steps", "4"], "--steps is given twice"),
        ([*ORACLE, "--normalizers", "grpo", "--normalizers=gdpo"], "--normalizers is given twice"),
        (["run", "--data-dir", "a", "--data_dir", "b"], "--data-dir is given twice"),
        ([*ORACLE, "--normalizers", "grpo,grpo"], "normalizers: listed twice: grpo"),
        (
            [*ORACLE, "--normalizers", "os:no_such_function"],
            "os is a module of Python's own",
        ),
        ([*ORACLE, "--normalizers", "gdpo_envs.tags:no_such"], "normalizer in module gdpo_envs.tags 'no_such'"),
        ([*ORACLE, "--seeds", "one"], "expected a number, warm_start:rl, or"),
        ([*ORACLE, "--seeds=-1"], "expected a number, warm_start:rl, or"),
        ([*ORACLE, "--steps=-1"], "training.steps: Input should be greater than or equal to 0"),
        ([*ORACLE, "--rollout", "vlmm"], "Unknown rollout backend 'vlmm'"),
        ([*ORACLE, "--out", "file"], "Cannot make the run folder"),
        (["run", "--policy", "orcale"], "Did you mean 'oracle'"),
        (["run", "--policy", "mini:warm_steps=3"], "Did you mean 'warm_start_"),
        (["run", "--policy", "replay:missing.jsonl"], "Cannot read missing.jsonl: No such file"),
        (["run", "--policy", "replay:file", "--envs", ENV], "none of its 0 lines is about one of the"),
        (["run", "--policy", "oracle", "--envs", "gdpo/GSM8K-v0", "--data-dir", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_users_mistake_is_a_message_and_exit_code_2(
    arguments: list[str], message: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_folder / "file").touch()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("option", ["--envs", "--normalizers", "--seeds", "--training", "--runtime"])
def test_a_list_without_values_is_no_other_job(
    option: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", option, "--steps", "1"])
    assert ended.value.code == 2
    assert f"{option}: expected at least one value" in capsys.readouterr().err
    assert not (empty_folder / "runs").exists()


@pytest.mark.slow
def test_real_command_says_the_same_without_a_traceback(empty_folder: Path) -> None:
    (empty_folder / "bad.yaml").write_text(f"envs: [{ENV}]\ntraining:\n  stpes: 3\n")
    done = command("-m", "gdpo_bench", "run", "bad.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: bad.yaml is not a job:\n  line 3: training.stpes: unknown field; known here:")
    assert "Traceback" not in done.stderr


NAMES = st.from_regex(r"[a-z_]{1,8}(:[A-Za-z_]{1,8})?", fullmatch=True)
VALUES = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.just("a/b:c"))
CHOICES = st.tuples(NAMES, st.dictionaries(st.from_regex(r"[a-z_]{1,6}(\.[a-z]{1,3})?", fullmatch=True), VALUES))


def spelled(choice: tuple[str, dict[str, Any]]) -> str:
    name, options = choice
    parts = [f"{key}={json.dumps(value) if not isinstance(value, str) else value}" for key, value in options.items()]
    return name + (":" + ",".join(parts) if parts else "")


@settings(max_examples=50, deadline=None)
@given(choices=st.lists(CHOICES, min_size=1, max_size=5), data=st.data())
def test_lists_are_split_at_spaces_and_commas_but_options_stay_with_their_name(
    choices: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    words: list[str] = []
    for choice in choices:
        text = spelled(choice)
        if words and data.draw(st.booleans()):
            words[-1] += f",{text}"
        else:
            words.append(text)
    assert [parse_choice(word) for word in split_words(words)] == choices


@pytest.mark.parametrize(
    ("words", "split"),
    [
        (["a,b", "c"], ["a", "b", "c"]),
        (["0,1:2", "3"], ["0", "1:2", "3"]),
        (["gdpo:eps=1e-4,ddof=0,grpo"], ["gdpo:eps=1e-4,ddof=0", "grpo"]),
        (["a:x=1,m:f,b:y=2,z=u:v"], ["a:x=1", "m:f", "b:y=2,z=u:v"]),
        (["a,"], ["a"]),
        ([""], []),
    ],
)
def test_lists_of_the_command_line(words: list[str], split: list[str]) -> None:
    assert split_words(words) == split


@pytest.mark.parametrize(
    ("argv", "repeats"),
    [
        (["/x/bin/gdpo-bench", "run", "tiny"], "python -m gdpo_bench.run tiny"),
        (["/x/gdpo_bench/__main__.py", "run", "--envs", "a b"], "python -m gdpo_bench.run --envs 'a b'"),
        (["/x/gdpo_bench/run.py", "--steps", "3"], "python -m gdpo_bench.run --steps 3"),
    ],
)
def test_command_in_the_entries_repeats_the_run(argv: list[str], repeats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert run_module._command() == repeats


def test_options_replace_those_of_the_job_file(empty_folder: Path) -> None:
    (empty_folder / "my.yaml").write_text(
        f"envs: [{ENV}]\nnormalizers: [grpo, gdpo]\nseeds: [4]\ntraining: {{steps: 9, prompts: 3}}\n"
    )
    job = run_module._job("my.yaml", {"normalizers": ["gdpo:eps=1e-3"], "policy": "oracle"}, {"training": {"steps": 2}})
    assert [choice.label for choice in job.normalizers] == ["gdpo:eps=0.001"]
    assert (job.name, job.policy, job.training.steps, job.training.prompts) == ("my", "oracle", 2, 3)
    assert [seed.rl for seed in job.seeds] == [4]


def test_training_options_hold_for_environments_with_their_own_too(empty_folder: Path) -> None:
    (empty_folder / "my.yaml").write_text(f"envs: [{{id: {ENV}, training: {{prompts: 3, group_size: 2}}}}]\n")
    job = run_module._job("my.yaml", {}, {"training": {"prompts": 5}})
    (training,) = (job.training_on(env) for env in job.envs)
    assert (training.prompts, training.group_size) == (5, 2)
    assert len(run_module._job("sweep-group-size", {}, {"training": {"group_size": 4, "prompts": 5}}).envs) == 2


def test_without_arguments_the_default_job_runs() -> None:
    assert run_module._job(None, {}, {}) == Job.load("default")
    assert run_module._job(None, {}, {"training": {"steps": 5}}).training.steps == 5


@pytest.mark.parametrize("env_id", [ENV, "gdpo/ToolCallingMini-v1", "gdpo/ToolDialog-v0"])
def test_oracle_earns_full_marks(env_id: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--policy", "oracle", "--envs", env_id, "--normalizers", "grpo,gdpo", "--out", "runs"]) == 0
    found = entries(empty_folder)
    assert {entry.normalizer.name for entry in found} == {"grpo", "gdpo"}
    for entry in found:
        assert entry.track == "advantage"
        (result,) = entry.results
        for reward in entry.environment.rewards:
            assert result.rewards[reward.name].final == reward.high
        for metric, value in result.metrics.items():
            assert value.final == (0 if metric == "exceed_ratio" else 1)
        assert result.diagnostics["groups"] == entry.environment.num_tasks
    assert "Leaderboard entries: runs/job-" in capsys.readouterr().out


def test_replay_scores_given_replies_by_task_id_and_by_question(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = gdpo_bench.make_env(ENV)
    one, two = env.tasks("eval")[:2]
    right, other = env.reference(one), env.reference(two)
    lines = [
        {
            "task_id": one.id,
            "replies": [right, "", "\ud800" * 9, "x" * 1_000_000],
            "labels": [True, False, False, True],
        },
        {"question": two.prompt, "replies": [other, other]},
        {"question": "something else [/red]", "replies": ["?"]},
    ]
    file = empty_folder / "[my] replies.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["run", "--policy", f"replay:{file}", "--envs", ENV, "--normalizers", "gdpo"]) == 0
    (entry,) = entries(empty_folder)
    (result,) = entry.results
    assert result.rewards["correct"].final == pytest.approx(3 / 6)
    assert result.diagnostics["groups"] == 2
    assert result.diagnostics["zero_signal_groups"] == 1
    assert (result.diagnostics["labels"], result.diagnostics["label_agreement"]) == (4, 0.75)
    assert entry.policy.details["rollouts"] == 6
    printed = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "1 line of" in printed
    assert "[my] replies.jsonl is about no task" in printed


def test_replay_scores_whole_dialogues_and_names_the_task_whose_replies_stop_too_early(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = gdpo_bench.make_env("gdpo/ToolDialog-v0")
    task = env.tasks("eval")[0]
    right = env.reference(task)
    assert right is not None
    file = empty_folder / "dialogues.jsonl"
    command = ["run", "--policy", f"replay:{file}", "--envs", "gdpo/ToolDialog-v0", "--normalizers", "gdpo"]
    file.write_text(json.dumps({"task_id": task.id, "replies": [right, [*right, "unheard"], "no"]}))
    assert main(command) == 0
    (entry,) = entries(empty_folder)
    assert entry.results[0].rewards["success"].final == pytest.approx(2 / 3)
    file.write_text(json.dumps({"task_id": task.id, "replies": [right[:-1]]}))
    assert main(command) == 2
    assert f"the episode of task {task.id} is not over after the {len(right) - 1} replies" in capsys.readouterr().err


def test_replay_twice_gives_the_same_entry_in_another_folder(empty_folder: Path) -> None:
    assert main(ORACLE) == main(ORACLE) == 0
    runs = sorted((empty_folder / "runs").iterdir())
    assert len(runs) == 2
    first, second = (sorted(path.name for path in (run / "entries").iterdir()) for run in runs)
    assert first == second


def test_full_disk_is_a_message(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gdpo_bench.core.files.os.fsync", full)
    assert main(ORACLE) == 2
    assert "No space left on device; nothing was written" in capsys.readouterr().err
    assert not list(empty_folder.rglob("*.json"))


@pytest.mark.slow
def test_oracle_on_real_problems_earns_full_marks(data_dir: Path, empty_folder: Path) -> None:
    arguments = ["--envs", "gdpo/GSM8K-v0", "--normalizers", "gdpo", "--data-dir", str(data_dir)]
    assert main(["run", "--policy", "oracle", *arguments]) == 0
    (entry,) = entries(empty_folder)
    assert {curve.final for curve in entry.results[0].rewards.values()} == {1.0}
    assert entry.environment.num_tasks == 1319


@pytest.mark.slow
def test_replay_of_published_completions_agrees_with_all_their_labels(data_dir: Path, empty_folder: Path) -> None:
    file = data_dir / "gsm8k/example_model_solutions.jsonl"
    arguments = ["--envs", "gdpo/GSM8K-v0", "--normalizers", "grpo,gdpo", "--data-dir", str(data_dir)]
    assert main(["run", "--policy", f"replay:{file}", *arguments]) == 0
    found = {entry.normalizer.name: entry.results[0] for entry in entries(empty_folder)}
    for result in found.values():
        assert (result.diagnostics["labels"], result.diagnostics["label_agreement"]) == (5276, 1.0)
        assert result.diagnostics["groups"] == 1319
        assert 0 < result.diagnostics["zero_signal_groups"] < 1319
    assert found["gdpo"].diagnostics["distinct_levels"] >= found["grpo"].diagnostics["distinct_levels"]
