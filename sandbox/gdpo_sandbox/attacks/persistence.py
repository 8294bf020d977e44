"""Programs that try to stay, or to leave something for the next one."""

from functools import partial

from gdpo_sandbox.attacks.attack import Attack
from gdpo_sandbox.program import Status

_persist = partial(Attack, "persistence")
_OK = (Status.OK,)

ATTACKS = (
    _persist("daemon", "forks twice into a session of its own", """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            try: open("/tmp/alive", "a").write("x")
            except OSError: pass
            time.sleep(0.01)
    os._exit(0)
def f(n): return 0
""", ends=_OK),
    _persist("deaf daemons", "leaves processes that ignore all signals", """
import os, signal, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        for number in signal.valid_signals():
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True:
            try: time.sleep(600)
            except BaseException: pass
def f(n): return 0
""", ends=_OK),
    _persist("hydra", "forks faster than it is killed", """
import os
if os.fork() == 0:
    while True:
        try:
            if os.fork(): os._exit(0)
            os.setsid()
        except OSError: pass
def f(n): return 0
""", ends=(Status.OK, Status.TIMEOUT)),
    _persist("stopped child", "leaves a child that cannot act on signals", """
import os, signal
if (child := os.fork()) == 0:
    while True: signal.pause()
os.kill(child, signal.SIGSTOP)
def f(n): return 0
""", ends=_OK),
    _persist("adopter", "takes PID 1's place as the parent of orphans", """
import ctypes, os, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    if os.fork() == 0: time.sleep(600)
    os._exit(0)
def f(n): return 0
""", ends=_OK),
    _persist("other program", "waits for another Python that never ends", """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
""", ends=(Status.TIMEOUT, Status.RUNTIME_ERROR)),
    _persist("threads", "leaves threads at work", """
import threading, time
def work():
    while True: time.sleep(0.01)
for _ in range(4): threading.Thread(target=work, daemon=True).start()
def f(n): return 0
""", ends=_OK),
    _persist("busy thread", "has a thread that outlives the program", """
import threading
def work():
    while True: pass
threading.Thread(target=work).start()
print(0)
""", "stdio", ends=(Status.TIMEOUT,)),
    _persist("timers", "sets timers that go off when it is gone", """
import signal
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.01)
signal.setitimer(signal.ITIMER_PROF, 10, 0.01)
print(0)
""", "stdio", ends=_OK),
    _persist("at exit", "does its work when Python ends", """
import atexit, os, time
def late():
    open("late", "w").write("x")
    if os.fork() == 0: time.sleep(600)
atexit.register(late)
print(0)
""", "stdio", ends=_OK),
    _persist("dying object", "does its work when its objects die", """
class Late:
    def __del__(self): open("late", "w").write("x")
late = Late()
print(0)
""", "stdio", ends=_OK),
    _persist("files", "leaves files of all kinds of names", """
for name in ("x", ".x", "..x", " ", "\\n", "-rf", "*", "\\x7f", "é", "\\u202e", b"\\xff\\xfe", "x" * 255): open(name, "w").write("x")
def f(n): return 0
""", ends=_OK),
    _persist("locked folders", "leaves folders that nobody may enter", """
import os
os.makedirs("a/b/c")
open("a/b/c/x", "w").close()
for path in ("a/b/c/x", "a/b/c", "a/b", "a"): os.chmod(path, 0)
def f(n): return 0
""", ends=_OK),
    _persist("deep folders", "leaves folders deeper than a path may be long", """
import os
for _ in range(1000):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
def f(n): return 0
""", ends=_OK),
    _persist("many files", "leaves as many files as it can", """
i = 0
try:
    while True:
        open(str(i), "w").close()
        i += 1
except OSError: pass
def f(n): return 0
""", ends=(Status.OK, Status.TIMEOUT)),
    _persist("links", "leaves links that lead out, nowhere, and in a circle", """
import os
os.symlink("/", "root")
os.symlink("/proc/1/root", "first")
os.symlink("circle", "circle")
os.symlink("..", "up")
open("x", "w").close()
os.link("x", "y")
os.mkfifo("pipe")
def f(n): return 0
""", ends=_OK),
    _persist("removed file", "keeps a file that no folder lists", """
import os, time
file = open("x", "wb")
file.write(b"x" * 50_000)
os.unlink("x")
if os.fork() == 0: time.sleep(600)
def f(n): return 0
""", ends=_OK),
    _persist("file in transit", "hides an open file in a socket that nobody reads", """
import os, socket
ends = socket.socketpair()
file = os.open(".", os.O_TMPFILE | os.O_RDWR)
os.write(file, b"x" * 50_000)
socket.send_fds(ends[0], [b"x"], [file, ends[0].fileno(), ends[1].fileno()])
socket.send_fds(ends[1], [b"x"], [file, ends[0].fileno(), ends[1].fileno()])
def f(n): return 0
""", ends=_OK),
    _persist("lock", "locks the working directory", """
import fcntl, os, time
fcntl.flock(os.open(".", os.O_RDONLY), fcntl.LOCK_EX)
if os.fork() == 0: time.sleep(600)
def f(n): return 0
""", ends=_OK),
    _persist("no way in", "takes the working directory away", """
import os
for act in (lambda: os.chmod(".", 0), lambda: os.rmdir("/tmp"), lambda: os.rename("/tmp", "/x"), lambda: os.utime(".", (0, 0))):
    try: act()
    except OSError: continue
    print("BREACH")
def f(n): return 0
""", ends=_OK),
    _persist("planted modules", "leaves modules that the next program would import", """
import os, sys
for name in ("json.py", "random.py", "sitecustomize.py", "usercustomize.py", "solution.py", "numpy.py", "x.pth"):
    for folder in [".", os.path.expanduser("~"), *sys.path]:
        try: open(os.path.join(folder, name), "w").write("print('BREACH')")
        except OSError: continue
        if folder != ".": print("BREACH", folder)
def f(n): return 0
""", ends=_OK),
    _persist("patched library", "replaces functions for those who come later", """
import builtins, json, os, random, sys
json.dumps = json.loads = os.listdir = random.random = lambda *args, **kwargs: 0
builtins.print = builtins.input = builtins.len = builtins.open = lambda *args, **kwargs: 0
sys.modules["collections"] = None
sys.path.insert(0, "/tmp")
def f(n): return 0
"""),
    _persist("hooks", "hooks itself into imports, errors and audits", """
import sys
def hook(*args): raise SystemExit
class Finder:
    find_spec = hook
sys.meta_path.insert(0, Finder())
sys.path_hooks.insert(0, hook)
sys.excepthook = sys.unraisablehook = sys.displayhook = hook
sys.addaudithook(lambda *args: None)
def f(n): return 0
"""),
    _persist("audit", "forbids the sandbox its own calls by an audit hook", """
import os, sys
def hook(event, args):
    if event in ("open", "os.fork", "os.truncate", "compile", "exec", "sys._getframe"): os._exit(0)
sys.addaudithook(hook)
def f(n): return open("x")
""", ends=(Status.NO_RESULT,)),
    _persist("settings", "changes the settings of its process", """
import decimal, gc, os, random, resource, signal, sys
os.nice(19)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.umask(0o777)
os.environ["PYTHONPATH"] = os.environ["TZ"] = "/tmp"
os.putenv("LD_PRELOAD", "/tmp/x.so")
os.chdir("/")
gc.disable()
random.seed(0)
sys.setrecursionlimit(100)
sys.setswitchinterval(100)
sys.set_int_max_str_digits(0)
decimal.getcontext().prec = decimal.DefaultContext.prec = 1
for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC): resource.setrlimit(which, (20, 20))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def f(n): return 0
"""),
    _persist("descriptors", "closes and replaces its standard streams", """
import os
for fd in (0, 1, 2): os.close(fd)
for _ in range(3): os.open("/dev/null", os.O_RDWR)
def f(n): return 0
"""),
    _persist("flags", "sets flags on what it shares with others", """
import fcntl, os
acts = (
    lambda fd: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND | os.O_ASYNC | os.O_DIRECT),
    lambda fd: fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096),
    lambda fd: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 15),
    lambda fd: fcntl.flock(fd, fcntl.LOCK_EX),
    lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
)
for fd in range(5):
    for act in acts:
        try: act(fd)
        except OSError: pass
def f(n): return 0
"""),
    _persist("files behind streams", "opens the files behind its streams anew, to change them", """
import mmap, os
for fd in range(3):
    try: file = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    except OSError: continue
    for act in (lambda: os.ftruncate(file, 5000), lambda: mmap.mmap(file, 5000)[:].strip(), lambda: os.fchmod(file, 0)):
        try: act()
        except (OSError, ValueError): pass
def f(n): return 0
"""),
    _persist("note for the next test", "leaves a note for its own next test", """
import os
if os.listdir("."): print("BREACH")
open("note", "w").write(input())
print(0)
""", "stdio", ends=_OK),
    _persist("process for the next test", "leaves a process for its own next test", """
import os, time
if len([name for name in os.listdir("/proc") if name.isdigit()]) > 3: print("BREACH")
if os.fork() == 0: time.sleep(600)
print(0)
""", "stdio", ends=_OK),
    _persist("state for the next test", "leaves its state in a module for its own next test", """
import math
if hasattr(math, "note"): print("BREACH")
math.note = input()
print(0)
""", "stdio", ends=_OK),
    _persist("core", "crashes, to leave its memory in a file", "import ctypes\ndef f(n): return ctypes.string_at(0)", ends=(Status.SIGNAL,)),
)  # fmt: skip
