"""How programs are spread over containers, and what becomes of them when the sandbox itself fails."""

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from gdpo_sandbox import EngineError, Limits, Outcome, Program, SandboxError, SandboxPool, Status
from gdpo_sandbox.container import Container, ContainerError
from gdpo_sandbox.orphans import OWNER_LABEL, owner
from gdpo_sandbox.protocol import full_budget

ECHO = [Program("print(input())", [str(n)]) for n in range(40)]
ANSWERS = [f"{n}\n" for n in range(40)]
HANG = Program("while True: pass", [""])


def answers(runs: list[Any]) -> list[str]:
    return [run.tests[0].stdout for run in runs]


def containers_of(engine: docker.DockerClient, name: str) -> set[str]:
    label = f"{OWNER_LABEL}={name}"
    return {container["Id"] for container in engine.api.containers(all=True, filters={"label": label})}


def eventually(holds: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def test_runs_come_in_the_order_of_their_programs(pool: SandboxPool) -> None:
    assert answers(pool.run_many(ECHO)) == ANSWERS
    assert answers(pool.run_many(iter(ECHO[:3]))) == ANSWERS[:3]
    assert pool.run_many([]) == []


def test_outcomes_are_judged_one_at_a_time_and_forgotten(pool: SandboxPool) -> None:
    kept: list[weakref.ref[set[int]]] = []

    def judge(index: int, outcome: Outcome) -> tuple[int, int, int]:
        kept.append(weakref.ref(outcome.value))
        return index, len(outcome.value), sum(each() is not None for each in kept)

    program = Program("def f(n): return set(range(n))", [(n,) for n in range(50)], "call", "f")
    assert pool.run_each(program, judge) == [(n, n, 1) for n in range(50)]


def test_programs_run_without_holding_up_the_event_loop(pool: SandboxPool) -> None:
    async def both() -> tuple[list[Any], int]:
        ticks, running = 0, asyncio.ensure_future(pool.run_many_async(ECHO))
        while not running.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return await running, ticks

    runs, ticks = asyncio.run(both())
    assert answers(runs) == ANSWERS
    assert ticks > 3


def test_many_threads_share_a_pool(pool: SandboxPool) -> None:
    results: dict[int, list[str]] = {}

    def work(number: int) -> None:
        results[number] = answers([pool.run(program) for program in ECHO[number::8]])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: ANSWERS[number::8] for number in range(8)}


def test_a_program_that_hangs_holds_up_its_own_slot_only(pool: SandboxPool) -> None:
    ended: list[str] = []

    def run(program: Program) -> None:
        pool.run(program)
        ended.append("hang" if program is HANG else "other")

    threads = [threading.Thread(target=run, args=(HANG,))]
    threads += [threading.Thread(target=lambda: [run(program) for program in ECHO[:5]])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["other"] * 5 + ["hang"]


@pytest.fixture
def single(engine: docker.DockerClient) -> Iterator[SandboxPool]:
    with SandboxPool(slots=1, limits=Limits(cpu_s=2)) as pool:
        yield pool


class Failing:
    """Has containers die of their next runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.left, original = times, Container.run

        def run(container: Container, *arguments: Any) -> Any:
            if self.left:
                self.left -= 1
                threading.Timer(0.3, container._container.kill).start()
            return original(container, *arguments)

        monkeypatch.setattr(Container, "run", run)


SLOW = Program("import time; time.sleep(input() == 'slow'); print('done')", ["fast", "slow", "fast"])


def test_a_program_whose_container_died_runs_again_in_another(
    single: SandboxPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, times=1)
    assert [outcome.stdout for outcome in single.run(SLOW).tests] == ["done\n"] * 3
    assert single.replaced == 1


def test_a_program_whose_container_died_twice_has_only_sandbox_errors(
    single: SandboxPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, times=2)
    run = single.run(SLOW)
    assert [outcome.status for outcome in run.tests] == [Status.SANDBOX_ERROR] * 3
    assert run.failed
    assert "does not answer" in run.tests[0].error
    assert not single.run(SLOW).failed


def test_a_program_whose_container_died_is_judged_anew(single: SandboxPool, monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, times=1)
    assert single.run_each(SLOW, lambda index, outcome: (index, outcome.stdout)) == [(n, "done\n") for n in range(3)]
    Failing(monkeypatch, times=2)
    failed = [(n, Status.SANDBOX_ERROR) for n in range(3)]
    assert single.run_each(SLOW, lambda index, outcome: (index, outcome.status)) == failed


def test_a_container_that_stands_still_is_given_up(single: SandboxPool, monkeypatch: pytest.MonkeyPatch) -> None:
    single.run(ECHO[0])
    (slot,) = single._idle
    assert slot.container
    slot.container._stream.set_timeout(0.5)
    slot.container._container.pause()
    assert answers([single.run(ECHO[1])]) == ANSWERS[1:2]
    assert single.replaced == 1


def test_what_is_not_the_protocol_is_a_failure_of_the_sandbox(
    single: SandboxPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    single.run(ECHO[0])
    (slot,) = single._idle
    assert slot.container
    slot.container._frames._buffer += b"\xff\xff\xff\xff"
    with pytest.raises(ContainerError, match="A frame of 4294967295 bytes"):
        slot.container.run(ECHO[0], [b"x"], full_budget(single.limits), lambda outcome: None)
    assert answers([single.run(ECHO[1])]) == ANSWERS[1:2]


def test_an_interrupt_costs_a_container_and_nothing_else(single: SandboxPool) -> None:
    single.run(ECHO[0])
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        single.run(HANG)
    assert answers([single.run(ECHO[1])]) == ANSWERS[1:2]
    assert single.replaced == 1


def test_containers_end_with_the_pool(engine: docker.DockerClient) -> None:
    before = containers_of(engine, owner())
    with SandboxPool(slots=2) as pool:
        pool.run_many(ECHO[:4])
        made = containers_of(engine, owner()) - before
        assert made
    assert eventually(lambda: not made & containers_of(engine, owner()))
    with pytest.raises(SandboxError, match="closed"):
        pool.run(ECHO[0])


def test_closing_ends_programs_that_run(engine: docker.DockerClient) -> None:
    pool = SandboxPool(slots=1)
    raised: list[Exception] = []

    def run() -> None:
        try:
            pool.run_many([HANG] * 3)
        except Exception as error:
            raised.append(error)

    with pool:
        pool.run(ECHO[0])
        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.3)
        start = time.monotonic()
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - start < 5, "a hanging program has five seconds of CPU"
    assert raised


CLIENT = """
import os, sys, threading
from gdpo_sandbox import Program, SandboxPool
pool = SandboxPool(slots=1)
pool.run(Program("", [""]))
threading.Timer(0.5, print, ("running",), {"flush": True}).start()
if sys.argv[1] == "fork" and os.fork() == 0: __import__("time").sleep(60)
pool.run(Program("while True: pass", [""] * 100))
"""


@pytest.mark.parametrize("way", ["kill", "fork"])
def test_containers_end_when_their_client_is_killed(engine: docker.DockerClient, way: str) -> None:
    with subprocess.Popen([sys.executable, "-c", CLIENT, way], stdout=subprocess.PIPE, process_group=0) as client:
        assert client.stdout
        try:
            assert client.stdout.readline() == b"running\n"
            name = owner(client.pid)
            assert containers_of(engine, name)
            client.kill()
            assert eventually(lambda: not containers_of(engine, name))
        finally:
            os.killpg(client.pid, signal.SIGKILL)


def test_a_copy_in_a_forked_process_says_that_it_is_one(pool: SandboxPool) -> None:
    pool.run(ECHO[0])
    ours, theirs = multiprocessing.Pipe()

    def child() -> None:
        try:
            pool.run(ECHO[1])
        except SandboxError as error:
            theirs.send(str(error))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert ours.poll(20)
    assert "belongs to another process" in ours.recv()
    process.join()
    assert answers([pool.run(ECHO[2])]) == ANSWERS[2:3]


def test_a_pool_cannot_be_pickled(pool: SandboxPool) -> None:
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(pool)


def test_without_an_engine_the_error_says_what_was_tried_and_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf"{tmp_path}/none.sock.*\n.*systemctl start docker"):
        SandboxPool(hosts=[f"unix://{tmp_path}/none.sock"]).run(ECHO[0])


def test_a_host_that_is_not_there_is_left_out_with_a_warning(engine: docker.DockerClient, tmp_path: Path) -> None:
    here = os.environ.get("DOCKER_HOST", "default")
    with (
        pytest.warns(UserWarning, match=rf"without.*\n?.*{tmp_path}"),
        SandboxPool(slots=2, hosts=[f"unix://{tmp_path}/none.sock", here]) as pool,
    ):
        assert answers(pool.run_many(ECHO[:6])) == ANSWERS[:6]


class Relay:
    """A way to the engine that can be cut, as a host that dies."""

    def __init__(self, path: Path, target: str) -> None:
        self.url, self._target = f"unix://{path}", target
        self._sockets = [socket.socket(socket.AF_UNIX)]
        self._sockets[0].bind(str(path))
        self._sockets[0].listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._sockets[0].accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def relay(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Relay]:
    url = engine.api.base_url
    if not url.startswith("http+docker://"):
        pytest.skip("needs an engine on a local socket")
    relay = Relay(tmp_path / "relay.sock", os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")[7:])
    yield relay
    relay.cut()


def test_slots_are_spread_evenly_over_hosts(relay: Relay) -> None:
    here = os.environ.get("DOCKER_HOST", "default")
    with SandboxPool(slots=4, hosts=[here, relay.url]) as pool:
        assert [slot.host.name for slot in pool._idle] == [here, relay.url] * 2


def test_when_a_host_dies_its_programs_run_on_the_others(relay: Relay) -> None:
    here = os.environ.get("DOCKER_HOST", "default")
    slow = [Program("import time; time.sleep(0.1); print(input())", [str(n)]) for n in range(40)]
    with SandboxPool(slots=2, hosts=[relay.url, here]) as pool:
        pool.run_many(slow[:4])
        threading.Timer(0.5, relay.cut).start()
        with pytest.warns(UserWarning, match="going on without"):
            assert answers(pool.run_many(slow)) == ANSWERS


def test_a_host_without_a_slot_takes_over_when_the_others_die(relay: Relay) -> None:
    with SandboxPool(slots=1, hosts=[relay.url, os.environ.get("DOCKER_HOST", "default")]) as pool:
        pool.run(ECHO[0])
        relay.cut()
        with pytest.warns(UserWarning, match="going on without"):
            assert answers([pool.run(ECHO[1])]) == ANSWERS[1:2]


def test_when_the_only_host_dies_that_is_an_engine_error(relay: Relay) -> None:
    with SandboxPool(slots=1, hosts=[relay.url]) as pool:
        pool.run(ECHO[0])
        relay.cut()
        with pytest.raises(EngineError, match="in 3 attempts"):
            pool.run(ECHO[1])


def test_a_runtime_that_the_engine_does_not_know_is_an_engine_error(engine: docker.DockerClient) -> None:
    with SandboxPool(slots=1, runtime="no-such-runtime") as pool, pytest.raises(EngineError, match="no-such-runtime"):
        pool.run(ECHO[0])


def test_defaults_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GDPO_SANDBOX_HOSTS", f"unix://{tmp_path}/a,unix://{tmp_path}/b")
    monkeypatch.setenv("GDPO_SANDBOX_SLOTS", "7")
    pool = SandboxPool()
    assert pool.slots == 7
    with pytest.raises(EngineError, match=rf"(?s){tmp_path}/a.*{tmp_path}/b"):
        pool.run(ECHO[0])
    assert SandboxPool(slots=3).slots == 3


def test_slots_default_to_the_cores_there_are(engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDPO_SANDBOX_SLOTS", raising=False)
    with SandboxPool() as pool:
        assert pool.slots == min(engine.info()["NCPU"], len(os.sched_getaffinity(0)))


def test_importing_the_package_loads_neither_docker_nor_the_rest_of_ours() -> None:
    code = "import gdpo_sandbox, sys; print({'docker', 'requests', 'gdpo_bench', 'gdpo_envs'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "set()\n"
