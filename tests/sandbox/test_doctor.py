from dataclasses import replace

import docker
import pytest
from gdpo_sandbox import doctor
from gdpo_sandbox.doctor import LIMITS, examine


def test_a_sandbox_in_order_has_no_finding_to_act_on(engine: docker.DockerClient) -> None:
    findings = list(examine())
    assert [finding for finding in findings if not finding.fine] == []
    assert len(findings) > 20


def test_without_an_engine_the_finding_says_how_to_start_one() -> None:
    (finding,) = examine(host="unix:///nowhere/docker.sock")
    assert not finding.fine
    assert "unix:///nowhere/docker.sock" in finding.found
    assert "systemctl start docker" in finding.advice


def test_an_unknown_runtime_is_named_with_the_known_ones(engine: docker.DockerClient) -> None:
    *_, finding = examine(runtime="nonesuch")
    assert (finding.name, finding.fine) == ("runtime", False)
    assert "nonesuch" in finding.found
    assert "runc" in finding.found


def test_limits_that_are_not_enforced_are_found(engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIMITS", replace(LIMITS, memory_mb=2048, open_files=500, output_bytes=1 << 21))
    loose = {finding.name for finding in examine() if not finding.fine}
    assert {"memory", "memory of all processes", "open files", "size of a file"} <= loose


def test_what_the_environment_configures_is_what_is_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDPO_SANDBOX_HOSTS", "unix:///nowhere.sock,unix:///elsewhere.sock")
    assert [finding.found.split(":", 1)[0] for finding in examine()] == ["No Docker engine answers at unix"] * 2
