"""Every limit holds, is told for what it is, and leaves the container fit for the next program."""

from collections.abc import Iterator
from typing import Any

import docker
import pytest
from gdpo_sandbox import Limits, Outcome, Program, ProgramError, SandboxPool, Status

LIMITS = Limits(cpu_s=0.5, wall_s=4, memory_mb=128, processes=8, output_bytes=10_000, files_mb=1, open_files=32)


@pytest.fixture(scope="module")
def tight(engine: docker.DockerClient) -> Iterator[SandboxPool]:
    with SandboxPool(slots=1, limits=LIMITS) as pool:
        yield pool


def run(pool: SandboxPool, source: str) -> Outcome:
    """Its outcome, after another program has run as if nothing had been."""
    (outcome,) = pool.run(Program(source, [""])).tests
    (after,) = pool.run(Program("import os; print(os.listdir('.'))", [""])).tests
    assert (after.status, after.stdout) == (Status.OK, "[]\n")
    return outcome


LOST_CHILDREN = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the kernel adds their time to nobody's
while True:
    if os.fork() == 0:
        while time.process_time() < 0.05: pass
        os._exit(0)
    try: os.wait()
    except ChildProcessError: pass
"""
THREADS = """
import threading
for _ in range(3): threading.Thread(target=exec, args=("while True: pass",)).start()
"""
DEAF = """
import signal
for number in (2, 10, 12, 14, 15, 24): signal.signal(number, signal.SIG_IGN)
while True: pass
"""
SEVEN_PROCESSES = """
import os, time
for _ in range(6):
    ready, told = os.pipe()
    if not os.fork():
        x = bytearray(b'1' * (25 << 20))
        os.write(told, b'.')
        time.sleep(60)
    os.read(ready, 1)
x = b'1' * (90 << 20)
"""
"""Each within its own limit, together beyond the container's: the kernel kills the largest, which is the first."""
STUBBORN = """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    while True: os.write(1, b"x" * 100)
except OSError: pass
"""
MANY_CHILDREN = """
import os, signal
for _ in range(20):
    if os.fork() == 0: signal.pause()
"""
MANY_THREADS = """
import threading
for _ in range(20): threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import os\nos.fork(); os.fork()\nwhile True: pass",
        THREADS,
        DEAF,
        LOST_CHILDREN,
        "10 ** 10 ** 9",
    ],
    ids=["loop", "processes", "threads", "signals", "lost children", "one instruction"],
)
def test_cpu_time_of_all_processes_is_limited(tight: SandboxPool, source: str) -> None:
    outcome = run(tight, source)
    assert outcome.status is Status.TIMEOUT
    assert outcome.cpu_s < LIMITS.cpu_s + 0.5


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.sleep(60)",
        "import os; os.read(os.pipe()[0], 1)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import threading; threading.Event().wait()",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
        "import os, signal, time\nif os.fork(): os.wait()\nelse:\n    os.setsid()\n    time.sleep(60)",
    ],
    ids=["sleep", "read", "stop", "wait", "thread", "child"],
)
def test_wall_time_ends_what_uses_no_cpu(tight: SandboxPool, source: str) -> None:
    outcome = run(tight, source)
    assert outcome.status is Status.TIMEOUT
    assert outcome.wall_s >= 4
    assert outcome.cpu_s < 0.5


@pytest.mark.parametrize(
    "source",
    [
        "x = bytearray(200 << 20)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "import mmap\nx = [mmap.mmap(-1, 1 << 20) for _ in range(200)]",
        SEVEN_PROCESSES,
    ],
    ids=["at once", "bit by bit", "maps", "processes"],
)
def test_memory_is_limited(tight: SandboxPool, source: str) -> None:
    outcome = run(tight, source)
    if outcome.status is not Status.MEMORY_LIMIT:  # mmap says so as an OSError
        assert outcome.error == "OSError: [Errno 12] Cannot allocate memory"


@pytest.mark.parametrize(
    "source",
    [
        "while True: print('x' * 100)",
        "import sys\nwhile True: sys.stderr.write('x' * 100)",
        "import os\nwhile True: os.write(1, b'x' * 100)",
        STUBBORN,
        "import os\nos.ftruncate(1, 10_001)",
        "open('x', 'w').write('x' * 20_000)",
    ],
    ids=["print", "stderr", "write", "signal ignored", "truncate", "file"],
)
def test_output_is_limited(tight: SandboxPool, source: str) -> None:
    outcome = run(tight, source)
    assert outcome.status is Status.OUTPUT_LIMIT
    assert len(outcome.stdout) <= 4_000


@pytest.mark.parametrize(
    ("written", "kept"),
    [("b'x' * 9_000", "x" * 4_000), ("'😀'.encode() * 2_400", "😀" * 2_400), ("b'ab\\xff'", "ab\\xff")],
)
def test_of_a_test_that_fails_the_beginning_of_its_output_is_kept(tight: SandboxPool, written: str, kept: str) -> None:
    outcome = run(tight, f"import os\nos.write(1, {written})\n1 / 0")
    assert (outcome.status, outcome.stdout) == (Status.RUNTIME_ERROR, kept)


def test_output_up_to_the_limit_is_all_there(tight: SandboxPool) -> None:
    outcome = run(tight, "print('x' * 9_999)")
    assert (outcome.status, outcome.stdout) == (Status.OK, "x" * 9_999 + "\n")


@pytest.mark.parametrize(("size", "status"), [(9_000, Status.OK), (11_000, Status.OUTPUT_LIMIT)])
def test_a_returned_value_is_limited_like_output(tight: SandboxPool, size: int, status: Status) -> None:
    (outcome,) = tight.run(Program("def f(n): return '\"' * (n // 2)", [(size,)], "call", "f")).tests
    assert outcome.status is status


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (MANY_CHILDREN, "Errno 11"),
        (MANY_THREADS, "can't start new thread"),
        ("x = [open('/dev/null') for _ in range(40)]", "Errno 24"),
        ("for n in range(200): open(str(n), 'wb').write(b'x' * 9_000)", "Errno 28"),
        ("for n in range(9_999): open(str(n), 'wb').close()", "Errno 28"),
        ("open('/x', 'w')", "Errno 30"),
        ("open('/dev/x', 'w')", "Errno 13"),
    ],
    ids=["processes", "threads", "open files", "space", "files", "root", "dev"],
)
def test_what_is_beyond_a_limit_fails_in_the_program(tight: SandboxPool, source: str, error: str) -> None:
    outcome = run(tight, source)
    assert outcome.status is Status.RUNTIME_ERROR
    assert error in outcome.error


def test_the_container_survives_all_of_this(tight: SandboxPool) -> None:
    assert tight.replaced == 0


LONG = Limits(cpu_s=0.2, wall_s=1.5, program_cpu_s=1.0, output_bytes=1000, program_output_bytes=2500, timeouts=3)
BURN = "import time\nwhile time.process_time() < 0.12: pass\nprint(1)"
SLEEP = "import time\ntime.sleep(0.9)\nprint(1)"
SOIL = "import os\nfor _ in range(50): os.mkdir('d' * 99); os.chdir('d' * 99)\nprint(1)"  # longer than a path may be


@pytest.fixture(scope="module")
def long(engine: docker.DockerClient) -> Iterator[SandboxPool]:
    with SandboxPool(slots=1, limits=LONG) as pool:
        yield pool


@pytest.mark.parametrize(
    ("source", "entry", "ends"),
    [
        ("while True: pass", None, (Status.TIMEOUT, 3, "time limit")),
        ("def f(n):\n    while True: pass", "f", (Status.TIMEOUT, 3, "time limit")),
        (BURN, None, (Status.OK, 9, "its CPU time for all")),
        (SLEEP, None, (Status.OK, 9, "its time for all")),
        ("print('x' * 900)", None, (Status.OK, 3, "written as much")),
        ("def f(n): return 'x' * 900", "f", (Status.OK, 3, "written as much")),
        (SOIL, None, (Status.OK, 3, "containers unclean")),
    ],
)
def test_a_program_that_has_used_its_budget_is_not_run_on_the_tests_that_are_left(
    long: SandboxPool, source: str, entry: str | None, ends: tuple[Status, int, str]
) -> None:
    status, most, why = ends
    inputs: list[Any] = [(n,) if entry else str(n) for n in range(40)]
    outcomes = long.run(Program(source, inputs, "call" if entry else "stdio", entry)).tests
    ran = [outcome for outcome in outcomes if outcome.status is not Status.NOT_RUN]
    assert outcomes[0].status is status
    assert 1 <= len(ran) <= most
    assert [outcome.status for outcome in outcomes[len(ran) :]] == [Status.NOT_RUN] * (40 - len(ran))
    assert outcomes[-1].error.startswith("Not run: ")
    assert why in outcomes[-1].error
    (after,) = long.run(Program("print(input())", ["next"])).tests
    assert (after.status, after.stdout) == (Status.OK, "next\n"), "the budget is a program's own"


def test_a_single_timeout_does_not_end_a_program(long: SandboxPool) -> None:
    source = "k = int(input())\nwhile k == 3: pass\nprint(k)"
    outcomes = long.run(Program(source, [str(k) for k in range(12)])).tests
    assert [outcome.status for outcome in outcomes] == [Status.TIMEOUT if k == 3 else Status.OK for k in range(12)]


SWELLING = """
import os, sys
def f(n):
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_token"): frame = frame.f_back
    os.write(4, frame.f_locals["self"]._token + b' ["returned", {{"value": [{}')
    for _ in range(300): os.write(4, b"{{}}," * 20_000)
    os.write(4, b"0{}\\n")
    while True: pass
"""


@pytest.mark.parametrize(
    "source",
    [
        SWELLING.format("", "]}]"),
        SWELLING.format("0]}]\\t[", "]"),
        "import os\ndef f(n):\n    for _ in range(31): os.write(1, b'\\xff' * (1 << 20))",
        "import os\ndef f(n):\n    os.write(1, b'1' * (31 << 20))\n    return 'x' * (31 << 20)",
    ],
    ids=["head", "value", "junk", "output and value"],
)
def test_no_answer_is_too_much_for_the_sandbox_with_large_limits(engine: docker.DockerClient, source: str) -> None:
    limits = Limits(cpu_s=3, memory_mb=256, output_bytes=32 << 20)
    with SandboxPool(slots=1, limits=limits) as pool:
        (outcome,) = pool.run(Program(source, [(1,)], "call", "f")).tests
        assert outcome.status is not Status.SANDBOX_ERROR
        assert pool.replaced == 0


def test_limits_must_be_positive() -> None:
    with pytest.raises(ProgramError, match="memory_mb must be positive; got 0"):
        Limits(memory_mb=0)
