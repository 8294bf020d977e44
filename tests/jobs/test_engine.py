import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.processor import arithmetic_pins, cpu_info
from gdpo_bench.jobs.engines.local import LocalEngine
from gdpo_bench.jobs.work import Event, Failed, Finished, Progressed

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tasks() -> Iterator[Any]:
    """The module of tasks, in a place where workers find it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import engine_tasks

        yield engine_tasks
        sys.modules.pop("engine_tasks")


@pytest.fixture(scope="module")
def engine(tasks: Any) -> Iterator[LocalEngine]:
    """One worker, for tests that leave it in peace."""
    with LocalEngine(1) as engine:
        yield engine


def ends(events: list[Event]) -> dict[int, Event]:
    return {event.task: event for event in events if not isinstance(event, Progressed)}


def test_every_task_ends_once_with_its_own_result_in_order(engine: LocalEngine, tasks: Any) -> None:
    events = list(engine.run([tasks.Do("double", n) for n in (1, "a")]))
    assert events == [
        Progressed(0, 0.5, "[half] way"),
        Finished(0, 2),
        Progressed(1, 0.5, "[half] way"),
        Finished(1, "aa"),
    ]


def test_nothing_to_do_is_done_at_once(engine: LocalEngine) -> None:
    assert list(engine.run([])) == []


def test_failures_are_alone_and_a_users_mistake_has_no_traceback(engine: LocalEngine, tasks: Any) -> None:
    whats = ["mistake", "double", "defect", "unpicklable", "unreadable", "double"]
    found = ends(list(engine.run([tasks.Do(what, "x") for what in whats])))
    assert found[0] == Failed(0, "x", expected=True)
    assert found[1] == Finished(1, "xx")
    for number, text in (
        (2, "ConnectionResetError: x"),
        (3, "pickle"),
        (4, "ImportError: the worker cannot read this"),
    ):
        failure = found[number]
        assert isinstance(failure, Failed)
        assert not failure.expected
        assert "Traceback" in failure.message
        assert text in failure.message
    assert found[5] == Finished(5, "xx")


def test_each_worker_sees_one_gpu(tasks: Any) -> None:
    before = dict(os.environ)
    with LocalEngine(2, gpus=["1", "3"]) as engine:
        # Long enough that both workers take part.
        events = list(engine.run([tasks.Do("gpu", 2.0), tasks.Do("gpu", 2.0)]))
    assert {event.result for event in events if isinstance(event, Finished)} == {"1", "3"}
    assert dict(os.environ) == before


@pytest.mark.skipif("avx2" not in cpu_info().get("flags", ""), reason="needs a processor with AVX2")
def test_arithmetic_is_pinned_whatever_the_user_set_and_our_environment_is_as_before(
    tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "7"}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with LocalEngine(1) as engine:
        (finished,) = ends(list(engine.run([tasks.Do("arithmetic")]))).values()
    assert finished.result == (1, "AVX2", arithmetic_pins())
    assert dict(os.environ) == before


def test_killed_worker_costs_its_task_only_and_without_workers_it_is_an_error(tasks: Any) -> None:
    with LocalEngine(2) as engine:
        found = ends(list(engine.run([tasks.Do("die"), *[tasks.Do("double", n) for n in range(3)]])))
        assert found[0] == Failed(0, "its process died with exit code -9 (killed, or out of memory?)", expected=True)
        assert [found[n] for n in (1, 2, 3)] == [Finished(n, 2 * (n - 1)) for n in (1, 2, 3)]

        # The other one is killed while it has nothing to do.
        survivor = ends(list(engine.run([tasks.Do("pid")])))[0]
        assert isinstance(survivor, Finished)
        os.kill(survivor.result, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(survivor.result)], timeout=0.5)
        with pytest.raises(GdpoBenchError, match=r"All worker processes have died with 2 tasks to go.*--resume"):
            list(engine.run([tasks.Do("double", 1)] * 2))


def test_worker_that_is_killed_before_it_can_read_its_task_fails_the_task(tasks: Any) -> None:
    engine = LocalEngine(1)
    events = engine.run([tasks.Do("double", 1)])
    os.kill(engine._workers[0][0].pid, signal.SIGKILL)  # it has hardly begun to start
    try:
        assert isinstance(next(events), Failed)
    except GdpoBenchError as error:  # the engine saw at once that it is dead
        assert "All worker processes have died" in str(error)  # noqa: PT017 (either is right)
    finally:
        engine.close()


def test_closing_stops_busy_workers_at_once(tasks: Any) -> None:
    with LocalEngine(1) as engine:
        event = next(engine.run([tasks.Do("sleep", 60)]))
        assert isinstance(event, Progressed)
        started = time.monotonic()
    assert time.monotonic() - started < 10  # not 60
    assert not psutil.pid_exists(int(event.text))


@pytest.mark.parametrize("what", ["report_for_ever", "double"])
def test_workers_go_away_when_their_parent_is_killed(tmp_path: Path, what: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
            import sys, time
            sys.path.insert(0, {str(HERE)!r})
            from engine_tasks import Do
            from gdpo_bench.jobs.engines.local import LocalEngine

            if __name__ == "__main__":
                engine = LocalEngine(1)
                for event in engine.run([Do({what!r}, 1)]):
                    print(engine._workers[0][0].pid, flush=True)
                    if {what == "report_for_ever"}:
                        break
                time.sleep(60)
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        assert psutil.wait_procs([worker], timeout=20)[1] == []
        parent.wait()
        assert parent.stderr is not None
        assert b"Traceback" not in parent.stderr.read()
