from pathlib import Path
from typing import Any

import pytest

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
