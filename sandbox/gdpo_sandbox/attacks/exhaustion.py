"""Programs that use up what they can get: processes, memory, files, output, time."""

from functools import partial

from gdpo_sandbox.attacks.attack import Attack
from gdpo_sandbox.program import Status

_exhaust = partial(Attack, "exhaustion")
_OVER_MEMORY = (Status.MEMORY_LIMIT, Status.RUNTIME_ERROR, Status.SIGNAL, Status.TIMEOUT)
_OVER_TIME = (Status.TIMEOUT,)
_FILL = """
import socket, time
try:
    with open("/proc/self/oom_score_adj", "w") as file: file.write("0")
except OSError: pass
pairs = []
while True:
    try: pairs += socket.socketpair()
    except OSError: break
for end in pairs:
    end.setblocking(False)
    try:
        while True: end.send(b"x" * 65536)
    except OSError: pass
time.sleep(60)
"""
"""A process that takes little memory of its own and much of the kernel's, so that it is not the one to be killed."""

ATTACKS = (
    _exhaust("fork bomb", "forks without end", """
import os
while True:
    try: os.fork()
    except OSError: pass
""", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT)),
    _exhaust("patient fork bomb", "answers, while the children that it has forked sleep", """
import os, time
def f(n):
    try:
        while True:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
    except OSError: return 0
""", ends=(Status.OK, Status.MEMORY_LIMIT)),
    _exhaust("zombies", "leaves dead children for others to bury", """
import os
def f(n):
    for _ in range(300):
        try:
            if os.fork() == 0: os._exit(0)
        except OSError: pass
    return 0
""", ends=(Status.OK, Status.TIMEOUT)),
    _exhaust("orphans", "gives dead children to PID 1, as fast as they can be made", """
import os
while True:
    try:
        if os.fork() == 0:
            os.fork()
            os._exit(0)
        os.wait()
    except OSError: pass
""", ends=_OVER_TIME),
    _exhaust("thread bomb", "starts threads without end", """
import threading, time
while True:
    try: threading.Thread(target=time.sleep, args=(60,)).start()
    except RuntimeError: pass
""", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT, Status.RUNTIME_ERROR)),
    _exhaust("memory at once", "asks for 64 GiB", "x = bytearray(64 << 30)", ends=(Status.MEMORY_LIMIT,)),
    _exhaust("memory by and by", "collects objects without end", "x = []\nwhile True: x.append(bytearray(1 << 20))", ends=_OVER_MEMORY),
    _exhaust("memory of many", "takes it in many processes that stay below their own limit", """
import os, time
for _ in range(20):
    if os.fork() == 0:
        x = bytearray(60 << 20)
        for i in range(0, len(x), 4096): x[i] = 1
        time.sleep(60)
        os._exit(0)
time.sleep(60)
""", ends=_OVER_MEMORY),
    _exhaust("memory error caught", "goes on after each MemoryError", """
x = []
while True:
    try: x.append(bytearray(1 << 24))
    except MemoryError: pass
""", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT, Status.SIGNAL)),
    _exhaust("anonymous mapping", "maps memory that no file backs", """
import mmap
x = []
while True:
    x.append(mmap.mmap(-1, 1 << 24))
    x[-1].write(b"x" * (1 << 24))
""", ends=_OVER_MEMORY),
    _exhaust("memory of the kernel", "fills sockets, so that the sandbox is killed for lack of memory", f"""
import ctypes, os, time
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, without which oom_score_adj belongs to root
for _ in range(100):
    try:
        if os.fork() == 0: exec({_FILL!r})
    except OSError: break
time.sleep(60)
""", ends=_OVER_MEMORY),
    _exhaust("memory of small ones", "the same from processes that are smaller than the sandbox's own", f"""
import subprocess, sys, time
children = []
for _ in range(100):
    try: children.append(subprocess.Popen([sys.executable, "-SEc", {_FILL!r}]))
    except OSError: break
time.sleep(60)
""", ends=_OVER_MEMORY),
    _exhaust("disk", "fills the working directory", """
for i in range(1000):
    with open(f"f{i}", "wb") as file: file.write(b"x" * 500_000)
""", ends=(Status.RUNTIME_ERROR, Status.OUTPUT_LIMIT, Status.MEMORY_LIMIT)),
    _exhaust("disk without a name", "fills files that no folder lists", """
import os
files = []
while True:
    files.append(os.open(".", os.O_TMPFILE | os.O_RDWR))
    os.write(files[-1], b"x" * 500_000)
""", ends=(Status.RUNTIME_ERROR, Status.OUTPUT_LIMIT, Status.MEMORY_LIMIT)),
    _exhaust("large file", "writes a file beyond the limit", "open('f', 'wb').write(b'x' * (4 << 20))", ends=(Status.OUTPUT_LIMIT, Status.RUNTIME_ERROR)),
    _exhaust("sparse file", "makes a file of a terabyte", """
import os
os.ftruncate(os.open("f", os.O_CREAT | os.O_WRONLY), 1 << 40)
""", ends=(Status.OUTPUT_LIMIT, Status.RUNTIME_ERROR, Status.SIGNAL)),
    _exhaust("inodes", "makes files without end", """
i = 0
while True:
    open(str(i), "w").close()
    i += 1
""", ends=(Status.RUNTIME_ERROR, Status.TIMEOUT)),
    _exhaust("open files", "opens files and keeps them", "x = []\nwhile True: x.append(open('/dev/null'))", ends=(Status.RUNTIME_ERROR,)),
    _exhaust("pipes", "fills pipes that nobody reads", """
import fcntl, os
while True:
    r, w = os.pipe()
    os.set_blocking(w, False)
    try:
        fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 1 << 20)
        while True: os.write(w, b"x" * 65536)
    except (BlockingIOError, PermissionError): pass
""", ends=(Status.RUNTIME_ERROR, Status.MEMORY_LIMIT)),
    _exhaust("terminals", "opens terminals, of which the machine has so many", """
import os
x = []
while True: x.append(os.openpty())
""", ends=(Status.RUNTIME_ERROR,)),
    _exhaust("output", "prints without end", "while True: print('x' * 10_000)", "stdio", ends=(Status.OUTPUT_LIMIT,)),
    _exhaust("output in a call", "prints without end", "def f(n):\n    while True: print('x' * 10_000)", ends=(Status.OUTPUT_LIMIT,)),
    _exhaust("output of many", "prints without end from several processes", """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for _ in range(3): os.fork()
while True:
    try: os.write(1, b"x" * 65536)
    except OSError: pass
""", "stdio", ends=(Status.OUTPUT_LIMIT,)),
    _exhaust("errors", "writes to stderr without end", "import os\nwhile True: os.write(2, b'x' * 65536)", "stdio", ends=(Status.OUTPUT_LIMIT,)),
    _exhaust("long line", "prints a line beyond the limit of output", "print('x' * 10_000_000)", "stdio", ends=(Status.OUTPUT_LIMIT,)),
    _exhaust("long error", "raises an exception with a message of many megabytes", "raise ValueError('x' * (1 << 24))", ends=(Status.RUNTIME_ERROR, Status.OUTPUT_LIMIT, Status.MEMORY_LIMIT)),
    _exhaust("huge value", "returns a text beyond the limit of output", "def f(n): return 'x' * (1 << 24)", ends=(Status.OUTPUT_LIMIT,)),
    _exhaust("shared value", "returns a list that is small here and without end when written out", """
def f(n):
    x = []
    for _ in range(60): x = [x, x]
    return x
""", ends=(Status.OUTPUT_LIMIT, Status.TIMEOUT, Status.MEMORY_LIMIT)),
    _exhaust("value without end", "returns a list that holds itself", "x = []\nx.append(x)\ndef f(n): return x"),
    _exhaust("deep value", "returns a list of lists of lists", """
def f(n):
    x = 0
    for _ in range(10 ** 5): x = [x]
    return x
"""),
    _exhaust("value of sets", "returns empty sets, which take fifty times their text where they are read", """
def f(n): return [set() for _ in range(116_000)]
"""),
    _exhaust("value of lists", "returns as many empty lists as its output may hold", """
def f(n): return [[] for _ in range(345_000)]
""", ends=(Status.OUTPUT_LIMIT,)),
    _exhaust("values of many tests", "returns as much as it may, for each test", "def f(n): return 'x' * ((1 << 20) - 2)", ends=(Status.OK, Status.NOT_RUN)),
    _exhaust("junk", "prints what must be escaped byte by byte", """
import os
os.write(1, b"\\xff" * (1 << 20))
""", "stdio", ends=(Status.OK,)),
    _exhaust("colliding members", "returns numbers that take quadratic time where a set is made of them", """
def f(n): return [i * (2 ** 61 - 1) for i in range(1, 40_000)]
"""),
    _exhaust("colliding keys", "returns keys that take quadratic time where they are read", """
def f(n): return {i * (2 ** 61 - 1): 0 for i in range(1, 2000)}
"""),
    _exhaust("CPU", "counts without end", "while True: pass", ends=_OVER_TIME),
    _exhaust("CPU of many", "counts without end in several processes", """
import os
for _ in range(3): os.fork()
while True: pass
""", ends=_OVER_TIME),
    _exhaust("CPU of orphans", "leaves the work to children and waits", """
import os, time
for _ in range(4):
    if os.fork() == 0:
        if os.fork() == 0:
            while True: pass
        os._exit(0)
time.sleep(60)
""", ends=_OVER_TIME),
    _exhaust("CPU of the unburied", "does the work in children that nobody waits for", """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        while time.process_time() < 0.05: pass
        os._exit(0)
    try: os.wait()
    except OSError: pass
""", ends=_OVER_TIME),
    _exhaust("sleep", "sleeps", "import time\ntime.sleep(3600)", ends=_OVER_TIME),
    _exhaust("wait", "reads what never comes", "import os\nr, w = os.pipe()\nos.read(r, 1)", ends=_OVER_TIME),
    _exhaust("signals ignored", "ignores every signal and goes on", """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""", ends=_OVER_TIME),
    _exhaust("stop", "stops itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", ends=_OVER_TIME),
    _exhaust("exceptions ignored", "catches all that is thrown at it", """
def f(n):
    while True:
        try:
            while True: pass
        except BaseException: pass
""", ends=_OVER_TIME),
    _exhaust("stack", "recurses until the stack is gone", """
import sys
sys.setrecursionlimit(10 ** 9)
def f(n): return [*map(f, [n])]
""", ends=(Status.RUNTIME_ERROR, Status.SIGNAL, Status.MEMORY_LIMIT, Status.TIMEOUT)),
    _exhaust("big power", "works out 9**9**9", "def f(n): return 9 ** 9 ** len(str(n))", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT)),
    _exhaust("digits", "writes out a number of many million digits", """
import sys
sys.set_int_max_str_digits(0)
def f(n): return str(1 << 10 ** 8)
""", ends=_OVER_TIME),
    _exhaust("regular expression", "backtracks without end", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", ends=_OVER_TIME),
    _exhaust("one instruction", "stays in C, where Python handles no signals", "sum(range(10 ** 18))", ends=_OVER_TIME),
    _exhaust("limits raised", "raises its own limits", """
import resource
def f(n):
    for name in dir(resource):
        if name.startswith("RLIMIT_"):
            which = getattr(resource, name)
            hard = resource.getrlimit(which)[1]
            if hard == resource.RLIM_INFINITY: continue
            try: resource.setrlimit(which, (hard, hard + 1))
            except (ValueError, OSError): continue
            print("BREACH", name)
    return 0
""", ends=(Status.OK,)),
)  # fmt: skip
