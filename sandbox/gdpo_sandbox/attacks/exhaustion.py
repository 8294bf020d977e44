"""Programs that use up what they can get: processes, memory, files, output, time."""

from functools import partial

from gdpo_sandbox.attacks.attack import attack
from gdpo_sandbox.program import Status

_exhaust = partial(attack, "exhaustion")
_OVER_MEMORY = (Status.MEMORY_LIMIT, Status.RUNTIME_ERROR, Status.SIGNAL, Status.TIMEOUT)

ATTACKS = (
    _exhaust("fork bomb", "forks without end", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
             ends=(Status.TIMEOUT, Status.MEMORY_LIMIT)),
    _exhaust("polite fork bomb", "forks sleeping children and answers", """
import os, time
def f(n):
    for _ in range(1000):
        try:
            if os.fork() == 0: time.sleep(60); os._exit(0)
        except OSError: break
    return 0
"""),
    _exhaust("thread bomb", "starts threads without end", """
import threading, time
while True:
    try: threading.Thread(target=time.sleep, args=(60,)).start()
    except RuntimeError: pass
""", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT)),
    _exhaust("memory at once", "asks for 64 GiB", "x = bytearray(64 << 30)", ends=_OVER_MEMORY),
    _exhaust("memory by and by", "collects objects without end", "x = []\nwhile True: x.append(bytearray(1 << 20))",
             ends=_OVER_MEMORY),
    _exhaust("memory of many", "several processes each just below their limit", """
import os, time
for _ in range(20):
    if os.fork() == 0:
        x = bytearray(60 << 20)
        for i in range(0, len(x), 4096): x[i] = 1
        time.sleep(60); os._exit(0)
time.sleep(60)
""", ends=(*_OVER_MEMORY, Status.NO_RESULT)),
    _exhaust("memory error caught", "goes on after each MemoryError", """
x = []
while True:
    try: x.append(bytearray(1 << 24))
    except MemoryError: pass
""", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT, Status.SIGNAL)),
    _exhaust("anonymous mapping", "maps memory that no file backs", """
import mmap
x = []
while True: m = mmap.mmap(-1, 1 << 24); m.write(b"x" * (1 << 24)); x.append(m)
""", ends=_OVER_MEMORY),
    _exhaust("disk", "fills the working directory", """
for i in range(1000):
    with open(f"f{i}", "wb") as file: file.write(b"x" * (1 << 20))
"""),
    _exhaust("sparse file", "makes a file of a terabyte", "import os\nfd = os.open('f', os.O_CREAT | os.O_WRONLY)\nos.ftruncate(fd, 1 << 40)",
             ends=(Status.OUTPUT_LIMIT, Status.RUNTIME_ERROR, Status.SIGNAL)),
    _exhaust("inodes", "makes files without end", "i = 0\nwhile True:\n    open(str(i), 'w').close()\n    i += 1"),
    _exhaust("deep folders", "makes folders within folders", """
import os
for _ in range(1500):
    os.mkdir("d"); os.chdir("d")
"""),
    _exhaust("open files", "opens files and keeps them", "x = []\nwhile True: x.append(open('/dev/null'))",
             ends=(Status.RUNTIME_ERROR,)),
    _exhaust("pipes", "fills pipes that nobody reads", """
import os
while True:
    r, w = os.pipe(); os.set_blocking(w, False)
    try:
        while True: os.write(w, b"x" * 65536)
    except BlockingIOError: pass
""", ends=(Status.RUNTIME_ERROR, Status.MEMORY_LIMIT)),
    _exhaust("output", "prints without end", "while True: print('x' * 10000)", mode="stdio", ends=(Status.OUTPUT_LIMIT, Status.SIGNAL)),
    _exhaust("output in a call", "prints without end", "def f(n):\n    while True: print('x' * 10000)",
             ends=(Status.OUTPUT_LIMIT, Status.SIGNAL)),
    _exhaust("errors", "writes to stderr without end", "import os\nwhile True: os.write(2, b'x' * 65536)", mode="stdio",
             ends=(Status.OUTPUT_LIMIT, Status.SIGNAL)),
    _exhaust("huge value", "returns half a gigabyte", "def f(n): return 'x' * (1 << 29)"),
    _exhaust("value without end", "returns a list that holds itself", "def f(n):\n    x = []\n    x.append(x)\n    return x"),
    _exhaust("deep value", "returns lists a million deep", """
def f(n):
    x = 0
    for _ in range(10 ** 6): x = [x]
    return x
"""),
    _exhaust("CPU", "counts without end", "while True: pass", ends=(Status.TIMEOUT,)),
    _exhaust("CPU of many", "counts without end in eight processes", """
import os
for _ in range(3): os.fork()
while True: pass
""", ends=(Status.TIMEOUT,)),
    _exhaust("CPU of orphans", "leaves the counting to children and answers", """
import os
def f(n):
    for _ in range(8):
        if os.fork() == 0:
            while True: pass
    return 0
"""),
    _exhaust("sleep", "sleeps", "import time\ntime.sleep(3600)", ends=(Status.TIMEOUT,)),
    _exhaust("wait for input", "reads what never comes", "import os\nr, w = os.pipe()\nos.read(r, 1)", ends=(Status.TIMEOUT,)),
    _exhaust("signals ignored", "ignores every signal and goes on", """
import signal
for s in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""", ends=(Status.TIMEOUT,)),
    _exhaust("stop", "stops itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", ends=(Status.TIMEOUT,)),
    _exhaust("stack", "recurses in C until the stack is gone", """
import sys
sys.setrecursionlimit(10 ** 9)
def g(n): return [g(n)] and g(n)
g(0)
""", ends=(Status.RUNTIME_ERROR, Status.SIGNAL, Status.MEMORY_LIMIT, Status.TIMEOUT)),
    _exhaust("big power", "works out 9**9**9", "def f(n): return 9 ** 9 ** 9", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT)),
    _exhaust("regular expression", "backtracks without end", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", ends=(Status.TIMEOUT,)),
    _exhaust("limits raised", "raises its own limits", """
import resource
for name in dir(resource):
    if name.startswith("RLIMIT_"):
        which = getattr(resource, name)
        soft, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            try: resource.setrlimit(which, (hard + 1, hard + 1))
            except (ValueError, OSError): continue
            print("BREACH", name)
def f(n): return 0
"""),
)  # fmt: skip
