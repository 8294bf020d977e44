"""The container's own counters are read under both versions of cgroups, and missed where there are none."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from gdpo_sandbox.image.worker.usage import cpu_meter, oom_meter


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(exist_ok=True, parents=True)
    (root / name).write_text(text)


@pytest.mark.parametrize(
    ("cpu", "usage", "memory"),
    [
        ("cpuacct/cpuacct.usage", "{}000000000\n", "memory/memory.oom_control"),
        ("cpu.stat", "usage_usec {}000000\nuser_usec 1\nsystem_usec 2\n", "memory.events"),
    ],
    ids=["version 1", "version 2"],
)
def test_counters_are_followed(tmp_path: Path, cpu: str, usage: str, memory: str) -> None:
    write(tmp_path, cpu, usage.format(1000))
    write(tmp_path, memory, "low 7\noom 9\noom_kill 0\n")
    used, kills = cpu_meter(str(tmp_path)), oom_meter(str(tmp_path))
    before = used()
    assert before == pytest.approx(1000 - time.process_time(), abs=0.5)
    assert kills() == 0
    write(tmp_path, cpu, usage.format(1007))
    write(tmp_path, memory, "low 7\noom 9\noom_kill 3\n")
    assert used() - before == pytest.approx(7, abs=0.5)
    assert kills() == 3


def test_without_counters_processes_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, kills = cpu_meter(str(tmp_path)), oom_meter(str(tmp_path))
    burn = "import time\nwhile time.process_time() < 1: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        monkeypatch.setattr("os.listdir", lambda folder: [str(process.pid)])  # others here come and go
        before = used()
        process.stdout.readline()
        assert used() - before >= 0.5
        process.communicate(b"\n")
    assert kills() == 0
