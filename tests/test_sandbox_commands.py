import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
from gdpo_sandbox import Status, doctor
from gdpo_sandbox.attacks import Attack
from gdpo_sandbox.orphans import OWNER_LABEL, owned, owner

from gdpo_bench.cli.main import main


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program.py"


@pytest.mark.usefixtures("engine")
def test_run_prints_what_the_program_prints_and_how_it_ended(program: Path, capsys: Any) -> None:
    program.write_text("import sys\nprint(input()[::-1])\nprint('hm', file=sys.stderr)")
    assert main(["sandbox", "run", str(program), "--stdin", "abc"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "cba\n"
    assert printed.err.startswith("hm\nok (")


@pytest.mark.usefixtures("engine")
def test_run_fails_where_the_program_does(program: Path, capsys: Any) -> None:
    program.write_text("while True: pass")
    assert main(["sandbox", "run", str(program), "--stdin", "", "--cpu-s", "0.2"]) == 1
    assert "timeout" in capsys.readouterr().err


@pytest.mark.seldom
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="numpy's image is made of Debian packages")
@pytest.mark.usefixtures("engine")
def test_with_numpy_commands_use_its_image(program: Path, capsys: Any) -> None:
    program.write_text("import numpy\nprint(numpy.arange(3).sum())")
    assert main(["sandbox", "run", str(program), "--stdin", ""]) == 1
    assert "No module named 'numpy'" in capsys.readouterr().err
    assert main(["sandbox", "run", str(program), "--stdin", "", "--numpy"]) == 0
    assert capsys.readouterr().out == "3\n"
    assert main(["sandbox", "build", "--numpy"]) == 0
    assert "-numpy\n" in capsys.readouterr().out
    assert main(["sandbox", "doctor", "--numpy"]) == 0
    found = capsys.readouterr().out
    assert "-numpy, " in found
    assert re.search(r"numpy +│ ok: [12]\.", found)


@pytest.mark.usefixtures("engine")
def test_the_public_image_has_no_numpy_and_that_is_a_message(capsys: Any) -> None:
    assert main(["sandbox", "build", "--numpy", "--base", "registry"]) == 2
    assert "has no numpy" in capsys.readouterr().err


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_that_a_program_says_is_obeyed_by_a_terminal(
    program: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    program.write_text("print('\\x1b[2J\\tone\\x9b')\nraise ValueError('\\x1b]0;owned\\x07')")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert main(["sandbox", "run", str(program), "--stdin", ""]) == 1
    printed = capsys.readouterr()
    assert "ValueError: \\x1b]0;owned\\x07\n" in printed.err
    assert printed.out == ("\\x1b[2J\tone\\x9b\n" if terminal else "\x1b[2J\tone\x9b\n"), "a file gets it all"


@pytest.mark.usefixtures("engine")
def test_what_a_program_says_in_the_doctor_and_the_attacks_is_not_obeyed_either(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = Attack("made", "up", "", "raise ValueError('\\x1b[31mBREACH')", ends=(Status.OK,))
    monkeypatch.setattr("gdpo_sandbox.attacks.CATALOGUE", (attack,))
    assert main(["sandbox", "attack"]) == 1
    assert "\\x1b[31mBREACH" in capsys.readouterr().out
    probe = doctor._Probe("colour", "print('\\x1b[31mred')", lambda outcome: True)
    monkeypatch.setattr(doctor, "_PROBES", (probe,))
    assert main(["sandbox", "doctor"]) == 0
    assert "\\x1b[31mred" in capsys.readouterr().out


def test_clean_removes_what_a_killed_client_has_left(engine: docker.DockerClient, capsys: Any) -> None:
    client = """
import docker, os, signal
from gdpo_sandbox import Program, SandboxPool
docker.models.containers.Container.start = lambda self: os.kill(os.getpid(), signal.SIGKILL)
SandboxPool(slots=1).run(Program("", [""]))
"""

    def left() -> list[str]:
        return [each["Id"] for each in owned(engine) if each["Labels"][OWNER_LABEL] == name]

    with subprocess.Popen([sys.executable, "-c", client]) as process:
        name = owner(process.pid)
    assert left()
    assert main(["sandbox", "clean"]) == 0
    assert not left()
    assert re.fullmatch(r"Removed \d+ containers and \d+ images; \d+ containers are in use.\n", capsys.readouterr().out)


@pytest.mark.usefixtures("engine")
def test_doctor_and_attack_print_tables_and_a_summary(capsys: Any) -> None:
    assert main(["sandbox", "doctor"]) == 0
    assert "Everything is in order." in capsys.readouterr().out
    assert main(["sandbox", "attack", "forging/exit-code-0", "escape/network"]) == 0
    assert "2 of 2 contained." in capsys.readouterr().out


@pytest.mark.usefixtures("engine")
def test_build_names_the_image_that_is_there(capsys: Any) -> None:
    assert main(["sandbox", "build"]) == 0
    assert "gdpo-bench-sandbox:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["run", "nowhere.py"], "Cannot read nowhere.py: No such file or directory."),
        (["attack", "--family", "forgin"], "Did you mean 'forging'?"),
        (["attack", "escape/networks"], "Did you mean 'escape/network'"),
        (["build", "--host", "unix:///nowhere.sock"], "No Docker engine answers at unix:///nowhere.sock"),
        (["build", "--host", "nonesuch"], "Unknown docker context 'nonesuch'"),
    ],
)
def test_mistakes_are_one_message(command: list[str], message: str, capsys: Any) -> None:
    assert main(["sandbox", *command]) == 2
    assert message in capsys.readouterr().err


def test_a_program_that_is_no_text_is_a_message(program: Path, capsys: Any) -> None:
    program.write_bytes(b"\xff")
    assert main(["sandbox", "run", str(program)]) == 2
    assert "expected UTF-8 text" in capsys.readouterr().err


def test_a_limit_must_be_positive(program: Path, capsys: Any) -> None:
    program.write_text("")
    assert main(["sandbox", "run", str(program), "--stdin", "", "--cpu-s", "0"]) == 2
    assert "cpu_s must be positive" in capsys.readouterr().err
