"""What a program must not be able to do: claim, reach, read or leave behind."""

import json
from typing import Any

import pytest
from gdpo_sandbox import Outcome, Program, SandboxPool, Status

FORGE = """
import json, os, sys
def answer(value):
    frame = sys._getframe()
    while "self" not in frame.f_locals: frame = frame.f_back
    os.write(4, frame.f_locals["self"]._token + b' ["returned", {}]\\t' + value.encode() + b'\\n')
"""


def call(pool: SandboxPool, source: str, *inputs: Any, isolation: Any = None) -> tuple[Outcome, ...]:
    return pool.run(Program(source, inputs or [()], "call", "f", isolation)).tests


@pytest.mark.parametrize(
    "body",
    [
        "answer('42'); os._exit(0)",
        "answer('42'); os.kill(os.getpid(), 9)",
        "answer('42'); answer('42'); return 1",
        "answer('[' * 50_000); os._exit(0)",
        "os.write(4, b'ready {}\\n'); return 1",
        "os.write(4, b'0123456789abcdef [\"returned\", {}]\\t42\\n'); return 1",
        "os.write(4, b'\\0\\xff\\n'); return 1",
        "os.write(4, b'[' * 100_000 + b'\\n'); return 1",
        "os.write(4, b'\\n'); return 1",
        "os.read(3, 1); answer('42')",
        "os._exit(0)",
        "os.close(4)",
        "os.closerange(0, 100)",
        "os.dup2(0, 4)",
        "os.write = os._exit = None",
        "json.dumps = lambda *a, **k: '42'",
        "sys.settrace(lambda *a: os._exit(0)); return 1",
        "if os.fork(): os._exit(0)\n    return 42",
        "import builtins; builtins.type = builtins.len = builtins.str = None; return 42",
    ],
)
def test_a_call_that_does_not_return_has_no_value(pool: SandboxPool, body: str) -> None:
    (outcome,) = call(pool, f"{FORGE}\ndef f():\n    {body}")
    assert outcome.status is not Status.OK or outcome.value in (1, None)
    assert outcome.value != 42


def test_results_of_later_tests_cannot_be_written_ahead(pool: SandboxPool) -> None:
    outcomes = call(
        pool, f"{FORGE}\ndef f(x):\n    for _ in range(3): answer('42')\n    return x", *[(n,) for n in range(3)]
    )
    assert not [outcome for outcome in outcomes if outcome.status is Status.OK]


def test_a_flood_of_results_is_an_output_limit(pool: SandboxPool) -> None:
    (outcome,) = call(pool, "import os\ndef f():\n    while True: os.write(4, b'x' * 65536)")
    assert outcome.status is Status.OUTPUT_LIMIT


def test_a_copy_of_the_process_answers_for_nobody(pool: SandboxPool) -> None:
    outcomes = call(pool, "import os\ndef f(x): return x if os.fork() else -x", (1,), (2,), (3,))
    assert [outcome.value for outcome in outcomes] == [1, 2, 3]
    (outcome,) = pool.run(Program("import os\nif os.fork() == 0: raise SystemExit(3)\nprint('parent')", [""])).tests
    assert (outcome.status, outcome.stdout) == (Status.OK, "parent\n")


SPY = """
import gc, glob, os
def f(secret):
    seen = [repr([o for o in gc.get_objects() if isinstance(o, (list, tuple, dict))])]
    seen.append(repr(os.pread(0, 10_000, 0)))
    for path in glob.glob("/proc/*/cmdline") + glob.glob("/proc/*/environ") + glob.glob("/tmp/**", recursive=True):
        try: seen.append(repr(open(path, "rb").read()))
        except OSError: pass
    return "-".join(["LATER", "INPUT"]) in "".join(seen)
"""


@pytest.mark.parametrize("isolation", ["test", "program"])
def test_inputs_of_later_tests_are_nowhere_yet(pool: SandboxPool, isolation: Any) -> None:
    outcomes = call(pool, SPY, ("nothing",), ("LATER-INPUT",), isolation=isolation)
    assert [outcome.value for outcome in outcomes] == [False, True]


LEAVE = """
import os, signal, threading, time
def leave():
    os.mkdir(b"\\xff\\n"); os.mkfifo("fifo"); os.symlink("/", "link"); open("file", "w").write("left")
    os.mkdir("locked"); open("locked/file", "w").close(); os.chmod("locked", 0); os.chmod("file", 0)
    try: os.setxattr("/tmp", "user.note", b"left")
    except OSError: pass
    os.setpriority(os.PRIO_PROCESS, 0, 19); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True:
            try: open("/tmp/later", "w").write("left")
            except OSError: pass
            time.sleep(0.01)
"""
LOOK = """
import glob, os
print(sorted(os.listdir(b"/tmp")), os.listxattr("/tmp"), os.getpriority(os.PRIO_PROCESS, 0),
      len(os.sched_getaffinity(0)),
      len(glob.glob("/proc/[0-9]*")))
"""


def test_nothing_is_left_for_the_next_program(pool: SandboxPool) -> None:
    clean = [run.tests[0].stdout for run in pool.run_many([Program(LOOK, [""])] * 4)]
    assert len(set(clean)) == 1
    assert clean[0].startswith("[] [] ")
    pool.run_many([Program(LEAVE + "leave()", [""])] * 4)
    assert [run.tests[0].stdout for run in pool.run_many([Program(LOOK, [""])] * 4)] == clean


def test_nothing_is_left_for_the_next_test(pool: SandboxPool) -> None:
    source = LEAVE + f"\nif input() == 'leave': leave()\nelse:\n    exec({LOOK!r})"
    before, _, after = pool.run(Program(source, ["look", "leave", "look"])).tests
    assert after.stdout == before.stdout


def test_a_container_that_cannot_be_cleaned_is_replaced_and_tests_go_on_in_another(pool: SandboxPool) -> None:
    source = (
        "import os\nfor _ in range(50): os.mkdir('d' * 99); os.chdir('d' * 99)\nprint(input())"  # longer than a path
    )
    replaced = pool.replaced
    outcomes = pool.run(Program(source, ["a", "b"])).tests
    assert [(outcome.status, outcome.stdout) for outcome in outcomes] == [(Status.OK, "a\n"), (Status.OK, "b\n")]
    assert pool.replaced == replaced + 2


DENIED = {
    "unix socket": "import socket; socket.socket(socket.AF_UNIX)",
    "inet socket": "import socket; socket.socket(socket.AF_INET)",
    "vsock": "import socket; socket.socket(40)",
    "netlink": "import socket; socket.socket(16, socket.SOCK_RAW)",
    "inet socketpair": "import socket; socket.socketpair(socket.AF_INET)",
    "root": "import os; os.setuid(0)",
    "chroot": "import os; os.chroot('/')",
    "kill PID 1": "import os; os.kill(1, 9)",
    "stop the dispatcher": "import glob, os; [os.kill(int(p[6:]), 19) for p in glob.glob('/proc/[1-9]*')]",
    "read PID 1": "open('/proc/1/mem', 'rb')",
    "files of PID 1": "import os; os.listdir('/proc/1/fd')",
    "environment of PID 1": "open('/proc/1/environ').read()",
    "memory file": "import os; os.memfd_create('x')",
    "attribute": "import os; os.setxattr('/tmp', 'user.x', b'')",
    "message queue": "import os; os.open('/dev/mqueue/x', os.O_CREAT | os.O_RDWR)",
    "raise a limit": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "better priority": "import os; os.nice(-1)",
    "kernel settings": "open('/proc/sys/kernel/core_pattern', 'w')",
    "worker": "open('/opt/sandbox/worker/child.py', 'a')",
    "terminal": "import os; os.openpty()",
    "other program": "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
    "last to be killed": "open('/proc/self/oom_score_adj', 'w').write('0')",
    "own memory as a file": "open('/proc/self/mem', 'rb')",
    "own program": "import os; os.close(os.open('x', os.O_CREAT, 0o755)); os.execv('./x', ['x'])",
}


@pytest.mark.parametrize("source", DENIED.values(), ids=DENIED.keys())
def test_it_is_denied(pool: SandboxPool, source: str) -> None:
    (outcome,) = pool.run(Program(source, [""])).tests
    assert outcome.status is Status.RUNTIME_ERROR
    assert outcome.error.startswith(("PermissionError", "ProcessLookupError", "OSError", "ValueError: not allowed"))


SYSTEM_CALLS = """
import ctypes, json, platform
libc = ctypes.CDLL(None, use_errno=True)
numbers = dict(ptrace=(101, 117), unshare=(272, 97), io_uring_setup=(425, 425), userfaultfd=(323, 282),
               keyctl=(250, 219), bpf=(321, 280), perf_event_open=(298, 241), shmget=(29, 194),
               personality=(135, 92), syncfs=(306, 267), io_setup=(206, 0), io_submit=(209, 2),
               io_pgetevents=(333, 292), pidfd_open=(434, 434), pidfd_send_signal=(424, 424), membarrier=(324, 283),
               quotactl=(179, 60), io_uring_enter=(426, 426), msgget=(68, 186), semget=(64, 190), mq_open=(240, 180),
               inotify_init1=(294, 26), seccomp=(317, 277), clone3=(435, 435))
column = platform.machine() == "aarch64"
errors = {}
for name, number in numbers.items():
    errors[name] = (libc.syscall(number[column], 0x10000000, 4096, 0x3ff, 0, 0), ctypes.get_errno())
clone = libc.syscall((56, 220)[column], 0x10000000 | 17, 0, 0, 0, 0)  # a user name space
errors["clone"] = (clone, ctypes.get_errno())
errors["pipe size"] = (libc.fcntl(4, 1031, 1 << 20), ctypes.get_errno())
libc.mmap.restype = ctypes.c_ssize_t
errors["huge pages"] = (libc.mmap(0, 1 << 21, 3, 0x40022, -1, 0), ctypes.get_errno())
errors["prctl"] = (libc.prctl(4, 1, 0, 0, 0), ctypes.get_errno())  # its own files in /proc
print(json.dumps(errors))
"""


def test_dangerous_system_calls_are_refused(pool: SandboxPool) -> None:
    (outcome,) = pool.run(Program(SYSTEM_CALLS, [""])).tests
    errors = json.loads(outcome.stdout)
    assert errors.pop("clone3") == [-1, 38], "ENOSYS, at which libc uses clone"
    assert {name: error for name, error in errors.items() if error != [-1, 1]} == {}


def test_harmless_things_work(pool: SandboxPool) -> None:
    source = """
import asyncio, concurrent.futures, os, resource, sys, tempfile, threading
for limits in ((1 << 28, -1), (1 << 26, -1), (-1, -1)): resource.setrlimit(resource.RLIMIT_STACK, limits)
async def main(): return await asyncio.gather(*[asyncio.sleep(0, n) for n in range(3)])
print(asyncio.run(main()))
with concurrent.futures.ThreadPoolExecutor(3) as threads: print(list(threads.map(str, range(3))))
with tempfile.TemporaryFile() as file: print(file.write(b"123"))
sys.setrecursionlimit(20_000)
def deep(n): return n and 1 + deep(n - 1)
print(deep(15_000))
threading.stack_size(128 << 20)
thread = threading.Thread(target=lambda: print(deep(15_000))); thread.start(); thread.join()
"""
    (outcome,) = pool.run(Program(source, [""])).tests
    assert (outcome.status, outcome.error) == (Status.OK, "")
    assert outcome.stdout.split("\n")[:-1] == ["[0, 1, 2]", "['0', '1', '2']", "3", "15000", "15000"]


def test_a_program_is_nobody_with_nothing(pool: SandboxPool) -> None:
    source = "import os; print(os.getuid(), os.getgid(), os.getgroups(), open('/proc/self/status').read())"
    (outcome,) = pool.run(Program(source, [""])).tests
    uid, gid, groups, *_ = outcome.stdout.split()
    assert int(uid) == int(gid) > 1000
    assert groups == "[]"
    status = dict(line.split(":\t", 1) for line in outcome.stdout.splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapInh"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
