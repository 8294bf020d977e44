import signal
import subprocess
import sys

import pytest

from gdpo_bench import GdpoBenchError
from gdpo_bench.cli.exits import interruptible, run_cli


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_exit_status_is_what_the_command_returned(returned, status):
    assert run_cli(lambda: returned) == status


def test_a_users_mistake_is_a_message_without_traceback(capsys):
    def command():
        raise GdpoBenchError("Expected a file; got a folder.")

    assert run_cli(command) == 2
    assert capsys.readouterr().err == "Error: Expected a file; got a folder.\n"


def test_our_own_defects_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_cli(lambda: 1 // 0)


def test_a_name_that_is_too_long_is_a_message(capsys, tmp_path):
    assert run_cli((tmp_path / ("x" * 300)).is_dir) == 2
    assert "too long a name for this file system" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        run_cli((tmp_path / "x").stat)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_end_a_command_say_how_to_go_on(number, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def command():
        with interruptible("The same command with --resume goes on."):
            signal.raise_signal(number)

    assert run_cli(command) == 130
    assert capsys.readouterr().err == "The same command with --resume goes on.\nInterrupted.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_has_the_usual_status():
    def command():
        raise KeyboardInterrupt

    assert run_cli(command) == 130


def test_a_reader_that_left_is_no_error():
    code = (
        "import sys; from gdpo_bench.cli.exits import interruptible, run_cli;"
        "sys.exit(run_cli(lambda: print('\\n'.join(['line'] * 100000))))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr.read() == b""
