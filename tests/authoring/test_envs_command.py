"""Environments are listed, described and played."""

import io
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

import gdpo_bench
from gdpo_bench.authoring.describe import describe, env_rows, env_table
from gdpo_bench.authoring.playing import play_env
from gdpo_bench.cli.main import main
from gdpo_bench.core import DataError, registry

Register = Callable[[str], str]


@pytest.fixture
def output() -> Callable[..., str]:
    """Plays an environment with given replies and returns what was shown."""

    def played(id: str, replies: str, **options: Any) -> str:
        shown = io.StringIO()
        play_env(id, Console(file=shown, width=150), replies=io.StringIO(replies), **options)
        return shown.getvalue()

    return played


def test_the_list_has_a_row_for_each_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs"]) == 0
    printed = capsys.readouterr().out
    for id in gdpo_bench.list_envs():
        assert id in printed
    families = re.findall(r"^([a-z][a-z -]*?) *$", printed.partition("\ntrain:")[0], re.MULTILINE)
    rows = {row.id: row for row in env_rows()}
    assert sorted(families) == sorted({row.family for row in rows.values()})
    assert set(families) >= {"bits", "coding", "math", "tool calling", "tool dialog"}
    trained = {id: (row.family, row.trained_by, row.programs, row.data_state) for id, row in rows.items()}
    assert trained["gdpo/CodingMini-v1"] == ("coding", "mini", True, "made")
    assert trained["gdpo/ToolDialog-v0"] == ("tool dialog", "mini", False, "made")
    assert trained["gdpo/APPS-v0"][:3] == ("coding", "mini", True)
    assert trained["gdpo/HumanEval-v0"][:3] == ("coding", "eval", True)
    what = "Sums of three-digit numbers, answered as `<think>…</think><answer>…</answer>`."
    assert rows["gdpo/MathMini-v1"].what == what
    assert rows["gdpo/MathMini-v1"].rewards.startswith("correct {0, 1}, length {0, 1}")
    assert (rows["gdpo/MathMini-v1"].turns, rows["gdpo/MathMini-v1"].data) == ("1", "procedural")
    assert rows["gdpo/ToolCallingMini-v1"].rewards == "format {0, 1}, correctness [-3, 3]"


def test_eighty_columns_lose_no_word_of_an_environment() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=80)
    console.print(env_table(env_rows(), "here", console.width))
    console.print(describe("gdpo/MathMini-v1"))
    assert "answered as `<think>" in shown.getvalue()
    lines = shown.getvalue().splitlines()
    assert [line for line in lines if re.search(r"\w…", line)] == []
    prose = "All sums are enumerated; about three in ten are held out in every order of their"
    assert lines[lines.index(prose) + 1].startswith("addends, and demonstrations never work one out")


def test_a_broken_plugin_and_missing_data_are_rows_that_say_so(
    registered: Register, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered("Fine")
    registry.register("test/Gone-v0", "no_such_module:Env")
    monkeypatch.setenv("GDPO_BENCH_DATA", "/nowhere")
    rows = {row.id: row for row in env_rows()}
    assert rows["test/Gone-v0"].what.startswith("cannot be made: test/Gone-v0 (register()): importing 'no_such_module'")
    assert "not here: Data of openai/gsm8k: /nowhere is not a folder" in rows["gdpo/GSM8K-v0"].data
    assert rows["test/Fine-v0"].what == "Say a number."
    assert rows["gdpo/GSM8K-v0"].data_state == "missing"
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert main(["envs"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"gdpo/HumanEval-v0 .* eval +missing +missing", listed)
    assert "No engine answers here" in listed
    assert re.search(r"^test *$", listed, re.MULTILINE)
    assert main(["envs", "gdpo/GSM8K-v0"]) == 0
    assert re.search(r"train +Data of openai/gsm8k", capsys.readouterr().out)


def test_whatever_an_authors_code_raises_is_a_row(specimens: ModuleType, registered: Register) -> None:
    class Exiting(specimens.Fine):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            raise SystemExit("no licence key")

    class NoData(specimens.Fine):  # type: ignore[misc, name-defined]
        def data_revision(self) -> str:
            raise OSError("disk on fire")

    registry.register("test/Exiting-v0", Exiting)
    registry.register("test/NoData-v0", NoData)
    rows = {row.id: row for row in env_rows()}
    assert "SystemExit: no licence key" in rows["test/Exiting-v0"].what
    assert "OSError: disk on fire" in rows["test/NoData-v0"].data


def test_a_description_tells_rewards_gates_options_splits_and_data(
    specimens: ModuleType, registered: Register, capsys: pytest.CaptureFixture[str]
) -> None:
    class Licensed(specimens.Fine):  # type: ignore[misc, name-defined]
        """Say a number [not a word]."""

        data_licence = "MIT"

        def __init__(self, limit: int = 3, name: str | None = None) -> None:
            """Set the options.

            Args:
                limit: Characters,
                    at most.
                name: Whose.
            """

        def data_revision(self) -> str:
            return "acme/numbers@1234"

    registry.register("test/Licensed-v0", Licensed)
    assert main(["envs", "test/Licensed-v0:limit=4"]) == 0
    printed = capsys.readouterr().out
    for part in (
        r"test/Licensed-v0  \(one turn; [^,]+Licensed\)",
        r"Say a number \[not a word\]\.",
        r"right +\{0, 1\} +binary +1 +accuracy",
        r"short +\[0, 1\] +graded +1 +right ≥ 1",
        r"limit +4 \(by default 3\) +Characters, at most\.",
        r"name +None +Whose\.",
        r"train +\d\d",
        r"Data: acme/numbers@1234 \(MIT\)",
        r"Training: the embedded policies .*, which imitate its demonstrations first",
    ):
        assert re.search(part, printed), (part, printed)


@pytest.mark.parametrize("id", [id for id in gdpo_bench.list_envs() if id.startswith("gdpo/")])
def test_bundled_environments_say_what_and_why(id: str) -> None:
    (row,) = (row for row in env_rows() if row.id == id)
    assert row.what.endswith((".", ".)"))
    assert "(no docstring)" not in row.what
    cls = registry.load_class(id)
    for function in cls.reward_functions:
        assert getattr(cls, function.method).__doc__


def test_playing_shows_the_rewards_and_why(output: Callable[..., str]) -> None:
    task = gdpo_bench.make_env("gdpo/MathMini-v1").tasks("train")[0]
    right = f"<answer>{sum(task.numbers)}</answer>"
    shown = output("gdpo/MathMini-v1", f"<think></think>so\n{right}\n\n", task_id=task.id)
    assert task.prompt in shown
    assert re.search(r"correct +1 +\{0, 1\} +1 if the number that `<answer>` begins with is the sum", shown)
    assert re.search(r"format +0 ", shown)
    assert f"full marks would go to\n<think></think>{right}" in shown


def test_a_gate_a_mask_and_a_failure_are_explained(
    specimens: ModuleType, registered: Register, output: Callable[..., str]
) -> None:
    class Odd(specimens.Fine):  # type: ignore[misc, name-defined]
        @gdpo_bench.reward(low=0, high=1)
        def absent(self, task: Any, reply: str) -> float | None:
            """Of other tasks."""
            return None

        @gdpo_bench.reward(low=0, high=1)
        def broken(self, task: Any, reply: str) -> float:
            """Never there."""
            raise DataError("[no] server")

    registry.register("test/Odd-v0", Odd)
    shown = output("test/Odd-v0", "no\n\n")
    assert re.search(r"right +0 ", shown)
    assert re.search(r"short +0 +\[0, 1\] +Would be 1, but counts only if right ≥ 1, which is 0\.", shown)
    assert re.search(r"absent +– +\[0, 1\] +Does not apply here; no value\. Of other tasks\.", shown)
    assert re.search(r"broken +– +\[0, 1\] +The scorer failed \(DataError: \[no\] server\); no value\.", shown)


def test_a_dialogue_is_played_turn_by_turn(registered: Register, output: Callable[..., str]) -> None:
    shown = output(registered("FineDialog"), "x\n\nx\n\nx\n\nx\n\n", split="eval", seed=3)
    assert shown.count("higher") in (3, 0)
    assert shown.count("Guess, from 0 to 9") == 2  # a second task begins, and there is no reply to it
    assert re.search(r"guesses +-3 +\[-3, 0\]", shown)


@pytest.mark.parametrize(
    ("replies", "lengths"),
    [("", []), ("\n", [0]), ("a\nb\n\nc", [3, 1]), ("a\r\n\r\nb\n", [1, 1]), ("\n\n", [0, 0])],
)
def test_a_reply_ends_with_an_empty_line_or_the_end(
    replies: str, lengths: list[int], specimens: ModuleType, registered: Register, output: Callable[..., str]
) -> None:
    seen = []

    class Listening(specimens.Fine):  # type: ignore[misc, name-defined]
        @gdpo_bench.reward(low=0, high=1)
        def short(self, task: Any, reply: str) -> float:
            seen.append(len(reply))
            return 0.0

    registry.register("test/Listening-v0", Listening)
    output("test/Listening-v0", replies)
    assert seen == lengths


def test_what_a_terminal_would_obey_is_shown_as_text(
    specimens: ModuleType, registered: Register, output: Callable[..., str]
) -> None:
    class Rude(specimens.Fine):  # type: ignore[misc, name-defined]
        def messages(self, task: Any) -> list[Any]:
            return [{"role": "user", "content": "\x1b[2Jboo\ud800 [red]" + "x" * 5000}]

    registry.register("test/Rude-v0", Rude)
    shown = output("test/Rude-v0", "")
    assert "\\x1b[2Jboo\\ud800" in shown
    assert "[red]" in shown
    assert len(shown) < 3000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["envs", "gdpo/MathMin-v0"], "Did you mean 'gdpo/MathMini-v1'"),
        (["envs", "gdpo/MathMini-v1:limit=x"], "option limit must be int; got 'x'"),
        (["envs", "gdpo/MathMini-v1:limit"], "importing 'gdpo/MathMini-v1' failed"),
        (["envs", "--play"], "Name the environment to play"),
        (["envs", "gdpo/MathMini-v1", "--play", "--split", "evil"], "Did you mean 'eval'"),
        (["envs", "gdpo/MathMini-v1", "--task", "nono"], "Unknown task id 'nono'"),
        (["check"], "Name an environment to check"),
        (["check", "gdpo/MathMini-v1", "--tasks", "0"], "at least 1; got 0"),
        (["check", "no_such_module:a/B-v0"], "importing 'no_such_module' failed"),
        (["new", "acme"], "An environment id is"),
    ],
)
def test_a_mistake_is_a_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert message in error


def test_check_exits_with_1_when_a_check_fails(registered: Register, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", registered("Constant"), "--tasks", "2"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"varied +failed +Reward 'always' was 1", printed)
    assert "16 checks: 1 failed, 0 skipped." in printed
    assert main(["check", registered("Fine"), "--tasks", "2"]) == 0
