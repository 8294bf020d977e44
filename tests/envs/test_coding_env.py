"""Rewards of programs: what each outcome is worth, that a program runs once, and what a broken sandbox does."""

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from gdpo_envs.coding import execution
from gdpo_envs.coding.env import CodingEnv
from gdpo_envs.coding.humaneval import HumanEval
from gdpo_envs.coding.mini import CodingMini
from gdpo_envs.coding.problem import MAX_OUTPUT, Case, CodeTask, call_case
from gdpo_envs.loading import UnusableRowError
from gdpo_sandbox import EngineError, Outcome, Program, ProgramError, ProgramRun, Status

from gdpo_bench.core import UnavailableError, make_vec
from gdpo_bench.core.scoring import Scores, score

DOUBLE = CodeTask(
    prompt="Double it.",
    mode="call",
    entry="f",
    preamble="from math import *",
    tests=[call_case((x,), 2 * x, "exact") for x in (-3, 0, 1, 5)],
    limit=100,
)
ECHO = CodeTask(
    prompt="Repeat it.",
    mode="stdio",
    entry=None,
    preamble="",
    tests=[Case(input=text, output=text, rule="tokens") for text in ("a b\n", "1\n2\n")],
    limit=60,
)
RIGHT = "def f(x): return 2 * x"


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def scored(task: CodeTask, *codes: str) -> list[list[float]]:
    return [list(map(float, row)) for row in scores(task, *map(fenced, codes)).values]


def scores(task: CodeTask, *replies: str) -> Scores:
    return score(CodingEnv(), "test", [task] * len(replies), list(replies))


class FakePool:
    """Answers as told, and keeps count."""

    def __init__(self, answer: Callable[[Program], ProgramRun]) -> None:
        self.answer = answer
        self.programs: list[Program] = []

    def run_each(self, program: Program, judge: Callable[[int, Outcome], Any]) -> list[Any]:
        self.programs.append(program)
        return [judge(index, outcome) for index, outcome in enumerate(self.answer(program).tests)]


def run_of(*outcomes: Outcome) -> ProgramRun:
    return ProgramRun(outcomes)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    execution._verdicts.clear()
    execution._passing.verdicts.clear()
    yield
    execution._verdicts.clear()
    execution._passing.verdicts.clear()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Program], ProgramRun]], FakePool]:
    def install(answer: Callable[[Program], ProgramRun]) -> FakePool:
        pool = FakePool(answer)
        monkeypatch.setattr(execution, "_pool", lambda limits, numpy: pool)
        return pool

    return install


@pytest.mark.parametrize(
    ("statuses", "pass_rate", "no_bug"),
    [
        ([Status.OK] * 4, 1, 1),
        ([Status.OK, Status.OK, Status.OK, Status.TIMEOUT], 0.75, 1),
        ([Status.TIMEOUT] * 4, 0, 1),
        ([Status.OK, Status.TIMEOUT, Status.NOT_RUN, Status.NOT_RUN], 0.25, 1),
        ([Status.MEMORY_LIMIT] * 4, 0, 1),
        ([Status.OUTPUT_LIMIT] * 4, 0, 1),
        ([Status.COMPILE_ERROR] * 4, 0, 0),
        ([Status.OK, Status.RUNTIME_ERROR, Status.OK, Status.OK], 0.75, 0),
        ([Status.OK, Status.OK, Status.OK, Status.SIGNAL], 0.75, 0),
        ([Status.OK, Status.OK, Status.OK, Status.NO_RESULT], 0.75, 0),
    ],
)
def test_each_status_is_worth_what_is_documented(
    statuses: list[Status], pass_rate: float, no_bug: float, fake: Any
) -> None:
    values = (-6, 0, 2, 10)
    fake(lambda program: run_of(*(Outcome(s, value=v) for s, v in zip(statuses, values, strict=True))))
    assert scored(DOUBLE, RIGHT) == [[pass_rate, float(pass_rate == 1), no_bug]]


@pytest.mark.parametrize("status", [Status.TIMEOUT, Status.NOT_RUN])
def test_a_program_that_ran_out_of_time_is_run_again_for_the_next_step(fake: Any, status: Status) -> None:
    slow = True
    pool = fake(lambda program: run_of(*[Outcome(status if slow else Status.OK, value=2 * x) for x in (-3, 0, 1, 5)]))
    assert scored(DOUBLE, RIGHT, RIGHT) == [[0, 0, 1]] * 2
    assert len(pool.programs) == 1
    slow = False
    assert scored(DOUBLE, RIGHT) == [[1, 1, 1]]
    assert scored(DOUBLE, RIGHT) == [[1, 1, 1]]
    assert len(pool.programs) == 2


def test_a_test_that_is_given_twice_counts_once(fake: Any) -> None:
    twice = replace(DOUBLE, tests=[*DOUBLE.tests[:1], *DOUBLE.tests[:1], *DOUBLE.tests[3:], *DOUBLE.tests[:1]])
    assert twice.tests == [DOUBLE.tests[0], DOUBLE.tests[3]]
    assert twice.id == replace(DOUBLE, tests=twice.tests).id
    fake(lambda program: run_of(*[Outcome(Status.OK, value=2 * x if x < 0 else 0) for (x,) in program.inputs]))
    assert scored(twice, RIGHT) == [[0.5, 0, 1]]


def echoing(size: int, mode: Any) -> CodeTask:
    text = "é" * size
    if mode == "call":
        return replace(DOUBLE, tests=[call_case((text,), [text], "exact")])
    return replace(ECHO, tests=[Case(input=text, output=text, rule="tokens")])


@pytest.mark.parametrize("mode", ["stdio", "call"])
def test_limits_of_output_follow_from_what_is_expected(mode: Any) -> None:
    default = execution._limits(echoing(100, mode), 1.0)
    assert default.output_bytes == 1 << 20
    large = execution._limits(echoing(1_000_000, mode), 1.0)
    assert large.output_bytes in (1 << 22, 1 << 24)
    many = replace(ECHO, tests=[Case(input=f"{i}", output="x" * 500_000, rule="tokens") for i in range(40)])
    assert execution._limits(many, 1.0).program_output_bytes == 1 << 26


def test_a_test_that_expects_more_than_can_be_scored_is_refused() -> None:
    with pytest.raises(UnusableRowError, match=f"{MAX_OUTPUT + 1} characters"):
        replace(ECHO, tests=[Case(input="", output="x" * (MAX_OUTPUT + 1), rule="tokens")])


def test_value_of_a_test_that_did_not_end_well_does_not_count(fake: Any) -> None:
    fake(lambda program: run_of(*(Outcome(Status.RUNTIME_ERROR, stdout=text) for text in ("a b", "1 2"))))
    assert scored(ECHO, "x") == [[0, 0, 0]]


def test_equal_programs_of_a_group_run_once_for_all_rewards(fake: Any) -> None:
    pool = fake(lambda program: run_of(*(Outcome(Status.OK, value=2 * x[0]) for x in program.inputs)))
    replies = [fenced("a"), f"Some words.\n{fenced('a')}", fenced("b"), fenced("a")]
    assert scores(DOUBLE, *replies).raw[:, 0].tolist() == [1, 1, 1, 1]
    assert scores(DOUBLE, *replies[::-1]).raw[:, 0].tolist() == [1, 1, 1, 1]
    assert sorted(program.source for program in pool.programs) == ["from math import *\na\n", "from math import *\nb\n"]


def test_expected_values_are_not_sent(fake: Any) -> None:
    secret = CodeTask("Guess.", "call", "f", "", [call_case((1,), "SECRET", "exact")], 60, solution="SECRET")
    pool = fake(lambda program: run_of(Outcome(Status.OK, value=None)))
    assert scored(secret, "x") == [[0, 0, 1]]
    assert "SECRET" not in repr(pool.programs)


def test_only_so_many_verdicts_are_remembered(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_REMEMBERED", 3)
    fake(lambda program: run_of(*[Outcome(Status.OK)] * 4))
    scored(DOUBLE, *map(str, range(10)))
    assert len(execution._verdicts) == 3


def test_failure_of_the_sandbox_is_a_mask_for_its_rollout_alone_and_is_tried_again_later(fake: Any) -> None:
    broken = True

    def answer(program: Program) -> ProgramRun:
        if broken and "bad" in program.source:
            return run_of(*[Outcome(Status.SANDBOX_ERROR, error="lost")] * 4)
        return run_of(*(Outcome(Status.OK, value=2 * x[0]) for x in program.inputs))

    pool = fake(answer)
    found = scores(DOUBLE, fenced("good"), fenced("bad"), fenced("bad"))
    assert found.failed.tolist() == [[False] * 3, [True] * 3, [True] * 3]
    assert found.values.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert "SandboxFailedError: The sandbox failed on this program: lost" in str(found.failures[0])
    assert len(pool.programs) == 2
    broken = False
    assert scored(DOUBLE, "bad") == [[1, 1, 1]]


def test_task_that_cannot_be_sent_is_a_failure_too(fake: Any) -> None:
    def answer(program: Program) -> ProgramRun:
        raise ProgramError("Program: inputs[0] cannot be sent")

    fake(answer)
    assert scores(DOUBLE, fenced("x")).failed.all()


def test_missing_engine_is_an_error_of_ours_with_the_engines_advice(fake: Any) -> None:
    def answer(program: Program) -> ProgramRun:
        raise EngineError("No Docker engine answers. Start it.")

    fake(answer)
    with pytest.raises(UnavailableError, match=r"No Docker engine answers\. Start it\."):
        scores(DOUBLE, fenced("x"), fenced("y"))


def test_a_number_of_slots_that_is_none_ends_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDPO_SANDBOX_SLOTS", "many")
    with pytest.raises(UnavailableError, match=r"GDPO_SANDBOX_SLOTS.* got 'many'"):
        scored(DOUBLE, RIGHT)


def test_replies_without_a_program_need_no_sandbox(fake: Any) -> None:
    pool = fake(lambda program: run_of())
    found = scores(DOUBLE, "", RIGHT, "```cpp\nint x;\n```")
    assert found.values.tolist() == [[0, 0, 0]] * 3
    assert not found.failed.any()
    assert not pool.programs


def test_preamble_comes_first_but_for_imports_from_the_future(fake: Any) -> None:
    pool = fake(lambda program: run_of(*[Outcome(Status.OK)] * 4))
    scored(DOUBLE, '"""Doc."""\nfrom __future__ import annotations\nx = 1')
    assert pool.programs[0].source.startswith("from __future__ import annotations\nfrom math import *\n")
    compile(pool.programs[0].source, "", "exec")


def test_engine_and_docker_are_not_touched_by_import_tasks_and_messages() -> None:
    code = (
        "import sys; from gdpo_envs.coding.mini import CodingMini; env = CodingMini(); import pickle;"
        "task = pickle.loads(pickle.dumps(env)).tasks('eval')[0]; env.messages(task); env.reference(task);"
        "assert not {'docker', 'datasets', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"DOCKER_HOST": "unix:///nowhere", "PATH": ""})


def test_unreachable_engine_is_told_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    reason = CodingMini().unavailable()
    assert reason is not None
    assert "No Docker engine answers at unix:///nowhere/docker.sock" in reason
    assert "DOCKER_HOST" in reason


# From here on programs are really run.


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("code", "pass_rate", "no_bug"),
    [
        (RIGHT, 1, 1),
        ("f = lambda x: x + x", 1, 1),
        ("class Solution:\n    def f(self, x): return x * 2", 1, 1),
        ("def f(x): return 2.0 * x", 0, 1),
        ("def f(x): return abs(2 * x)", 0.75, 1),
        ("def f(x): return 6 // x", 0, 0),
        ("def f(x): return 2 * x if x else 1 / x", 0.75, 0),
        ("def f(x) return 2 * x", 0, 0),
        ("def g(x): return 2 * x", 0, 0),
        ("def f(x):\n    while x == 5: pass\n    return 2 * x", 0.75, 1),
        ("import os\ndef f(x): os._exit(0)", 0, 0),
        ("def f(x): exit(0)", 0, 0),
        ("pass", 0, 0),
        ("def f(x): return x * 2 if x < 5 else bytearray(10 ** 10)", 0.75, 1),
        ("# nothing", 0, 0),
        ("\x00", 0, 0),
        ("def f(x): return '\ud800'", 0, None),
    ],
)
def test_programs_earn_what_they_deserve(code: str, pass_rate: float, no_bug: float | None) -> None:
    ((rate, short, clean),) = scored(DOUBLE, code)
    assert rate == pass_rate
    assert short == (pass_rate == 1)
    assert no_bug is None or clean == no_bug


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("code", "pass_rate", "no_bug"),
    [
        ("import sys\nprint(sys.stdin.read())", 1, 1),
        ("print(input())", 0.5, 1),
        ("print(input(), input())", 0.5, 0),
        ("import sys\nprint(sys.stdin.read())\nsys.exit(1)", 0, 0),
        ("import sys\nprint(sys.stdin.read())\nsys.exit(0)", 1, 1),
        ("print('a b')", 0.5, 1),
    ],
)
def test_programs_that_read_and_write_earn_what_they_deserve(code: str, pass_rate: float, no_bug: float) -> None:
    assert scored(ECHO, code) == [[pass_rate, float(pass_rate == 1 and len(fenced(code)) <= 60), no_bug]]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("mode", "code"), [("stdio", "print(input())"), ("call", "def f(x): return [x]")], ids=["stdio", "call"]
)
def test_answers_of_megabytes_can_pass(mode: Any, code: str) -> None:
    assert scored(echoing(1_200_000, mode), code)[0][::2] == [1, 1]


@pytest.mark.usefixtures("engine")
def test_python_and_packages_that_run_programs_are_told() -> None:
    execution.installed.cache_clear()
    versions = CodingEnv().runs_programs_with()
    assert versions is not None
    assert versions["python"].startswith("3.")


def test_the_prompt_says_what_programs_may_import() -> None:
    plain, with_numpy = (HumanEval(numpy=numpy).messages(DOUBLE)[0]["content"] for numpy in (False, True))
    assert "Python's standard library, and no others." in plain
    assert with_numpy == plain.replace("standard library", "standard library and numpy")


@pytest.mark.parametrize("numpy", [False, True])
def test_programs_run_where_the_prompt_says_that_they_do(monkeypatch: pytest.MonkeyPatch, numpy: bool) -> None:
    asked = []

    def pool(limits: object, numpy: bool) -> FakePool:
        asked.append(numpy)
        return FakePool(lambda program: run_of(*(Outcome(Status.OK, value=2 * x[0]) for x in program.inputs)))

    monkeypatch.setattr(execution, "_pool", pool)
    score(HumanEval(numpy=not numpy), "test", [DOUBLE], [fenced(RIGHT)])
    score(HumanEval(numpy=numpy), "test", [DOUBLE], [fenced(RIGHT)])
    assert asked == [not numpy, numpy], "what is known of a program without numpy says nothing of it with numpy"


@pytest.mark.seldom
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="numpy's image is made of Debian packages")
@pytest.mark.usefixtures("engine")
def test_with_numpy_a_program_may_import_it_and_without_that_is_a_bug() -> None:
    code = "import numpy\ndef f(x): return numpy.array([x, x]).sum()"
    reply = [fenced(code)]
    assert score(HumanEval(numpy=True), "test", [DOUBLE], reply).values.tolist() == [[1, 1, 1]]
    assert score(HumanEval(), "test", [DOUBLE], reply).values.tolist() == [[0, 0, 0]]
    execution.installed.cache_clear()
    assert set(HumanEval(numpy=True).runs_programs_with() or ()) == {"python", "numpy"}
    assert set(HumanEval().runs_programs_with() or ()) == {"python"}


def test_without_an_engine_nobody_tells_what_runs_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    execution.installed.cache_clear()
    assert CodingEnv().runs_programs_with() is None
    execution.installed.cache_clear()


@pytest.mark.usefixtures("engine")
def test_length_counts_only_for_a_program_that_passes() -> None:
    long = f"{RIGHT}  # {'x' * 100}"
    assert scored(DOUBLE, RIGHT, long, "def f(x): return x", f"# {'x' * 100}\ndef f(x): return x") == [
        [1, 1, 1],
        [1, 0, 1],
        [0.25, 0, 1],
        [0.25, 0, 1],
    ]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "code",
    [
        "class E:\n    __eq__ = lambda self, other: True\n    __hash__ = lambda self: 0\ndef f(x): return E()",
        "class E(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\ndef f(x): return E(7)",
        "import builtins\nbuiltins.len = lambda x: 4\nbuiltins.all = lambda x: True\ndef f(x): return x",
        "print('All tests passed')\ndef f(x): print('ok'); return None",
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        print(frame.f_locals)\n"
        "        frame = frame.f_back",
    ],
    ids=["equal to all", "equal number", "patched builtins", "success marker", "frames"],
)
def test_known_tricks_earn_nothing(code: str) -> None:
    ((rate, short, _),) = scored(DOUBLE, code)
    assert rate < 0.5
    assert short == 0


@pytest.mark.usefixtures("engine")
def test_environment_in_the_middle_of_an_episode_can_be_pickled_and_goes_on() -> None:
    venv = make_vec("gdpo/CodingMini-v1", num_prompts=2, group_size=2)
    _, info = venv.reset(seed=0)
    tasks = {task.id: task for task in venv.tasks}
    replies: Sequence[str] = [venv.text_env.reference(tasks[task_id]) or "" for task_id in info["task_id"]]
    copy = pickle.loads(pickle.dumps(venv))
    assert venv.step(replies)[1].tolist() == copy.step(replies)[1].tolist() == [[1, 1, 1]] * 4
