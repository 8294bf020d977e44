import os
import socket
from collections.abc import Iterator

import pytest
from gdpo_sandbox.image.worker import process
from gdpo_sandbox.image.worker.process import ENDED, FaultError, Process

KILLED = 9


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Process, socket.socket]]:
    """A process as the dispatcher sees it, and the zygote's side of the socket. Nothing is ever killed here."""
    dispatchers, zygotes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(process, "_KILL_EVERY_S", 0.001)
    monkeypatch.setattr(process, "PATIENCE_S", 0.1)
    monkeypatch.setattr(process, "HOST", dispatchers.fileno())
    monkeypatch.setattr(process, "kill_all", lambda: False)
    with dispatchers, zygotes:
        yield Process(dispatchers, lambda: 0.0), zygotes


def test_one_that_was_forked_only_after_it_was_killed_is_killed_again(
    forked: tuple[Process, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, zygote = forked
    kills: list[int] = []

    def kill_all() -> bool:
        kills.append(os.getpid())
        if len(kills) == 3:  # on a busy machine it is not there before
            zygote.send(ENDED.pack(KILLED, 0.0, 0))
        return len(kills) >= 3

    monkeypatch.setattr(process, "kill_all", kill_all)
    program.end()
    assert program.wait_status == KILLED
    assert len(kills) == 3


def test_one_that_will_not_die_is_a_fault_of_the_sandbox(forked: tuple[Process, socket.socket]) -> None:
    with pytest.raises(FaultError, match="still there"):
        forked[0].end()
