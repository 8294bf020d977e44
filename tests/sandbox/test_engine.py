"""Which engine is meant, and what is said when it does not answer."""

import json
import os
from pathlib import Path

import docker
import pytest
from docker.context import ContextAPI
from gdpo_sandbox import EngineError, SandboxError, SandboxPool
from gdpo_sandbox.engine import connect, slots_by_environment


@pytest.fixture(autouse=True)
def contexts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A docker configuration with a context `here`, and the engine's address in no variable."""
    here = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    ContextAPI.create_context("here", host=here)
    ContextAPI.create_context("nowhere", host=f"unix://{tmp_path}/none.sock")
    return here


def test_the_current_context_is_used(engine: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "here"}))
    assert connect().info()["ID"] == engine.info()["ID"]


def test_docker_context_goes_before_the_current_one(
    engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "nowhere"}))
    monkeypatch.setenv("DOCKER_CONTEXT", "here")
    assert connect().info()["ID"] == engine.info()["ID"]


def test_docker_host_goes_before_contexts(
    engine: docker.DockerClient, contexts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    monkeypatch.setenv("DOCKER_HOST", contexts)
    assert connect().info()["ID"] == engine.info()["ID"]


def test_a_host_is_a_url_or_the_name_of_a_context(
    engine: docker.DockerClient, contexts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    for host in (contexts, "here"):
        assert connect(host).info()["ID"] == engine.info()["ID"]


def test_an_unknown_context_is_named_with_those_that_are_known() -> None:
    with pytest.raises(EngineError, match=r"Unknown docker context 'there'; known: default, .*here"):
        connect("there")


@pytest.mark.parametrize("host", ["nowhere", "unix:///nowhere.sock", "tcp://127.0.0.1:1", "ssh://nobody@127.0.0.1:1"])
def test_an_engine_that_does_not_answer_is_named_with_advice(host: str) -> None:
    with pytest.raises(EngineError, match=r"No Docker engine answers at (.|\n)*docker info"):
        connect(host)


@pytest.mark.parametrize(("text", "slots"), [("7", 7), ("", None)])
def test_the_number_of_slots_comes_from_the_environment(
    text: str, slots: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDPO_SANDBOX_SLOTS", text)
    assert slots_by_environment() == slots


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.5", "9" * 5000])
def test_a_number_of_slots_that_is_none_is_an_error_that_says_what_to_do(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDPO_SANDBOX_SLOTS", text)
    expected = rf"GDPO_SANDBOX_SLOTS.* must be a positive whole number; got '{text[:70]}.*Set it to \d+"
    with pytest.raises(SandboxError, match=expected):
        SandboxPool()
    assert SandboxPool(slots=1).slots == 1
