"""Containers of clients that were killed are found and removed; those of clients that live never are."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import APIError
from gdpo_sandbox import Program, SandboxPool, orphans
from gdpo_sandbox.orphans import OWNER_LABEL, is_gone, owned, owner, remove_orphans

CLIENTS = 12
CLIENT = """
import docker, os, signal, sys
from gdpo_sandbox import Program, SandboxPool
if sys.argv[1] == "unstarted":
    docker.models.containers.Container.start = lambda self: os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
while True:
    with SandboxPool(slots=1) as pool: pool.run(Program("", [""]))
"""


@dataclass
class Client:
    """A process that starts one container after another."""

    process: subprocess.Popen[bytes]
    name: str

    def containers(self, engine: docker.DockerClient) -> list[str]:
        return [each["Id"] for each in owned(engine) if each["Labels"][OWNER_LABEL] == self.name]


@pytest.fixture
def start(engine: docker.DockerClient) -> Iterator[Callable[[str], Client]]:
    started = []

    def start(way: str) -> Client:
        process = subprocess.Popen([sys.executable, "-c", CLIENT, way], stdout=subprocess.PIPE)
        started.append(Client(process, owner(process.pid)))
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return started[-1]

    yield start
    for client in started:
        client.process.kill()
        client.process.communicate()
        for identifier in client.containers(engine):
            engine.api.remove_container(identifier, force=True)


def test_a_client_killed_before_it_starts_its_container_leaves_none_after_the_next_pool(
    start: Callable[[str], Client], engine: docker.DockerClient
) -> None:
    client = start("unstarted")
    client.process.wait()
    assert client.containers(engine)
    with SandboxPool(slots=1) as pool:
        pool.run(Program("", [""]))
    assert client.containers(engine) == []


def test_clients_killed_at_any_time_leave_none_and_one_that_lives_keeps_its_own(
    start: Callable[[str], Client], engine: docker.DockerClient
) -> None:
    rng = random.Random(0)
    with SandboxPool(slots=1) as living:
        living.run(Program("", [""]))
        killed = []
        for _ in range(CLIENTS):
            killed.append(start("running"))
            time.sleep(rng.uniform(0, 0.8))
            killed[-1].process.send_signal(signal.SIGKILL)
        for client in killed:
            client.process.wait()
        time.sleep(2)  # the engine may be making what was asked for last
        with SandboxPool(slots=1) as pool:
            pool.run(Program("", [""]))
        assert [client.containers(engine) for client in killed] == [[]] * CLIENTS
        assert living.run(Program("print(1)", [""])).tests[0].stdout == "1\n"
        assert living.replaced == 0


def test_a_process_is_gone_once_it_has_ended_even_before_it_is_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = owner(process.pid)
    assert not is_gone(name)
    assert process.stdin
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(name)
    process.wait()
    assert is_gone(name)


def test_another_process_of_the_same_id_is_not_the_owner() -> None:
    origin, pid, start = owner().split("|")
    assert not is_gone(owner())
    assert is_gone(f"{origin}|{pid}|{int(start) + 1}")


@pytest.mark.parametrize("name", ["", "a", "host:123", "another boot/pid:[1]|1|1", "{origin}|x|1", "{origin}|-1|1"])
def test_of_a_name_that_says_nothing_here_nothing_is_concluded(name: str) -> None:
    assert not is_gone(name.format(origin=owner().partition("|")[0]))


def test_a_process_that_is_hidden_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans.Path, "read_text", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    monkeypatch.setattr(orphans, "_origin", lambda: "here")
    assert not is_gone(f"here|{os.getpid()}|1")


class Engine:
    """Stands for an engine with some containers, whose clock shows 10,000 s."""

    def __init__(self, *containers: dict[str, Any], error: int = 0) -> None:
        self.left = {container["Id"]: container for container in containers}
        self.error = error
        self.api: Any = SimpleNamespace(
            containers=lambda **how: list(self.left.values()), remove_container=self._remove
        )

    def info(self) -> dict[str, str]:
        return {"SystemTime": "1970-01-01T02:46:40.123456789Z"}

    def _remove(self, identifier: str, force: bool) -> None:
        if self.error:
            raise APIError("no", response=SimpleNamespace(status_code=self.error, reason=""))
        del self.left[identifier]


def container(identifier: str, name: str, state: str = "running", created: int = 9_990) -> dict[str, Any]:
    return {"Id": identifier, "Labels": {OWNER_LABEL: name}, "State": state, "Created": created}


def test_only_what_is_certainly_left_is_removed() -> None:
    origin, pid, _ = owner().split("|")
    engine: Any = Engine(
        container("gone", f"{origin}|{pid}|0"),
        container("gone, never started", f"{origin}|{pid}|0", "created"),
        container("alive", owner()),
        container("alive, about to start", owner(), "created"),
        container("elsewhere", "another|1|1", created=0),
        container("elsewhere, about to start", "another|1|1", "created"),
        container("elsewhere, never started", "another|1|1", "created", 6_000),
    )
    assert remove_orphans(engine) == 3
    assert list(engine.left) == ["alive", "alive, about to start", "elsewhere", "elsewhere, about to start"]


@pytest.mark.parametrize("status", [404, 409])
def test_what_ends_by_itself_meanwhile_is_no_error(status: int) -> None:
    engine: Any = Engine(container("gone", owner() + "0"), error=status)
    assert remove_orphans(engine) == 0


def test_an_engine_that_does_not_remove_is_an_error() -> None:
    engine: Any = Engine(container("gone", owner() + "0"), error=500)
    with pytest.raises(APIError):
        remove_orphans(engine)
