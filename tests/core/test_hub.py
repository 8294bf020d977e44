"""Without a hub, what is cached is taken at once."""

import os
import socket
import sys
from types import SimpleNamespace

import pytest

from gdpo_bench.core.hub import give_up_where_there_is_no_hub


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the hub's client has read of an environment without any word of the hub."""
    monkeypatch.setattr(os, "environ", {})
    found = SimpleNamespace(HF_HUB_OFFLINE=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", found)
    monkeypatch.delitem(sys.modules, "datasets.config", raising=False)
    return found


@pytest.mark.parametrize(
    ("environ", "reachable", "offline"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"HTTPS_PROXY": "http://proxy:3128"}, False, False),
        ({"HF_HUB_OFFLINE": "0"}, False, False),
        ({"HF_ENDPOINT": "https://mirror.example"}, False, True),
    ],
)
def test_a_hub_that_has_no_address_is_not_asked(
    environ: dict[str, str],
    reachable: bool,
    offline: bool,
    constants: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[object]:
        asked.append(host)
        if not reachable:
            raise socket.gaierror(-2, "Name or service not known")
        return []

    os.environ.update(environ)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    give_up_where_there_is_no_hub()
    assert constants.HF_HUB_OFFLINE is offline
    assert (os.environ.get("HF_HUB_OFFLINE") == "1") is offline
    assert asked in ([], ["huggingface.co"], ["mirror.example"])
