import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from gdpo_envs.math import pool, worker
from gdpo_envs.math.pool import Pool, WorkerError, judge

SLOW = r"\tan(" * 8 + "x^{3}+y" + ")" * 8
"""Within the limits on its text, and some processor seconds of work."""


@pytest.fixture
def workers() -> Iterator[Pool]:
    made = Pool(workers=2)
    yield made
    made.close()


def run(*questions: tuple[str, str], patch: str = "") -> list[bool | None]:
    """Ask a worker process directly, one question after the other, after a patch of its modules."""
    program = f"from gdpo_envs.math import worker\nworker._WARM_UP = ()\n{patch}\nworker.main()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True, bufsize=1) as process:
        assert process.stdin
        assert process.stdout
        verdicts = []
        for question in questions:
            process.stdin.write(json.dumps(question) + "\n")
            verdicts.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait() == 0
    return verdicts


def test_verdicts_come_in_the_order_of_the_questions(workers: Pool) -> None:
    questions = [("1/2", "0.5"), ("1/2", "0.6"), ("x+1", "1+x"), ("1/2", "0.5"), ("3", "x")] * 4
    assert workers.judge(questions) == [True, False, True, True, False] * 4


def test_hostile_answers_are_wrong_and_cost_the_others_nothing(workers: Pool) -> None:
    hostile = ["9^{9^9}", "9**9**9", "{" * 3000, r"\sqrt{" * 50_000, "\x00", "\ud800", "1" * 5000, "-" * 300 + "1"]
    questions = [("1/2", answer) for answer in (*hostile, "0.5")]
    assert workers.judge([question for question in questions if len(question[1]) < 1000]) == [False] * 5 + [True]
    assert judge(questions) == [False] * len(hostile) + [True]


def test_answer_that_takes_too_long_is_wrong_and_the_next_one_is_scored() -> None:
    assert run(("x", SLOW), ("1/2", "0.5"), patch="worker.CPU_SECONDS = 0.3") == [None, True]


def test_time_limit_ends_computations_within_c_code_too() -> None:
    endless = "worker.CPU_SECONDS = 0.3\nworker.same = lambda truth, answer: answer == '1' or 9 ** 9 ** 9 == 1"
    assert run(("1", "2"), ("1", "1"), patch=endless) == [None, True]


def test_answer_that_takes_too_much_memory_is_wrong() -> None:
    hungry = "worker.same = lambda truth, answer: answer == '1' or bool(bytearray(1 << 34))"
    assert run(("1", "2"), ("1", "1"), patch=hungry) == [False, True]


def test_child_that_crashes_answers_wrong_and_is_replaced() -> None:
    crash = (
        "import os, signal\nworker.same = lambda truth, answer: answer == '1' or os.kill(os.getpid(), signal.SIGSEGV)"
    )
    assert run(("1", "2"), ("1", "1"), patch=crash) == [None, True]


def test_children_are_replaced_before_their_caches_grow() -> None:
    count = "worker.ANSWERS_PER_CHILD = 2\nimport os\nseen = []\nworker.same = lambda t, a: seen.append(1) or len(seen)"
    assert run(*[("1", "1")] * 5, patch=count) == [1, 2, 1, 2, 1]


def test_what_libraries_print_does_not_mix_with_verdicts() -> None:
    assert run(("1", "1"), patch="worker.same = lambda *_: print('loud', flush=True) is None") == [True]


def test_killed_worker_is_a_failure_of_the_scorer_and_is_replaced(workers: Pool) -> None:
    workers.judge([("1/2", "0.5")])
    victim = workers._idle[0]
    threading.Timer(0.3, lambda: os.killpg(victim.pid, signal.SIGKILL)).start()
    verdicts = workers.judge([("x", SLOW)])
    assert isinstance(verdicts[0], WorkerError)
    assert workers.judge([("2/4", "0.5")]) == [True]


def test_worker_that_died_while_idle_is_replaced_silently(workers: Pool) -> None:
    workers.judge([("1/2", "0.5")])
    os.killpg(workers._idle[0].pid, signal.SIGKILL)
    workers._idle[0].wait()
    assert workers.judge([("2/4", "0.5")]) == [True]


def test_worker_that_does_not_come_back_is_a_failure_of_the_scorer() -> None:
    impatient = Pool(workers=1, wall_seconds=0.01)
    verdicts = impatient.judge([("1/2", "0.5")])
    assert isinstance(verdicts[0], WorkerError)
    assert "no verdict within 0.01 s" in str(verdicts[0])
    assert impatient._idle == []
    pickle.dumps(verdicts)


def test_answers_are_asked_once(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ask = pool._ask
    monkeypatch.setattr(pool, "_ask", lambda worker, question: (asked.append(question), ask(worker, question)))
    for _ in range(2):
        assert workers.judge([("1/2", "0.5")] * 3) == [True] * 3
    assert asked == [("1/2", "0.5")]


def test_memory_of_verdicts_is_bounded(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_REMEMBERED", 3)
    for n in range(5):
        assert workers.judge([("1/2", f"{n}/7"), ("1/2", "0.5")]) == [False, True]
        assert len(workers._known) <= 3


def test_same_text_is_right_without_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_start", lambda: pytest.fail("a worker was started"))
    monkeypatch.setattr(pool, "_pool", Pool())
    tower = "2^{2^{2^{2019}}}"
    assert judge([(tower, f"${tower}$"), ("5", "(" * 100), ("x" * 500, "x" * 500)]) == [True, False, True]


def test_workers_end_with_the_program() -> None:
    program = (
        "import psutil\nfrom gdpo_envs.math import pool\npool.judge([('1/2', '0.5')])\n"
        "worker = psutil.Process(pool._pool._idle[0].pid)\nprint(worker.pid, worker.children()[0].pid)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for pid in map(int, done.stdout.split()):
        with contextlib.suppress(psutil.NoSuchProcess):  # the child may wait to be cleared away
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_verdicts_do_not_depend_on_hash_seeds() -> None:
    program = "from gdpo_envs.math.pool import judge; print(judge([('1,2', '2,1'), ('x+y', 'y+x'), ('x', 'y')]))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert outputs == {"[True, True, False]\n"}


def test_limits_leave_room_for_usual_answers() -> None:
    assert worker.CPU_SECONDS >= 10
    assert worker.MEMORY_BYTES >= 1 << 30


def judge_in_child(results: Any) -> None:
    results.put((judge([("1/2", "0.5"), ("1/2", "0.4")]), pool._pool.workers))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_that_may_have_no_children_has_one_worker_of_its_own(method: str) -> None:
    assert judge([("1/3", "2/6")]) == [True]
    context: Any = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    child = context.Process(target=judge_in_child, args=(results,), daemon=True)
    child.start()
    assert results.get() == ([True, False], 1)
    child.join()
    assert judge([("1/3", "3/9")]) == [True]
