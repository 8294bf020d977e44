"""Programs that want to outlive themselves, or leave something for the next one."""

from functools import partial

from gdpo_sandbox.attacks.attack import attack

_persist = partial(attack, "persistence")
_ANSWER = "\ndef f(n): return 0\n"

ATTACKS = (
    _persist("daemon", "forks twice and leaves the session", """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            try: open("/tmp/alive", "a").write("x")
            except OSError: pass
            time.sleep(0.01)
    os._exit(0)
""" + _ANSWER),
    _persist("many daemons", "leaves a chain of processes that fork on", """
import os
if os.fork() == 0:
    os.setsid()
    while True:
        try:
            if os.fork(): os._exit(0)
        except OSError: pass
""" + _ANSWER),
    _persist("deaf daemon", "leaves a process that ignores signals", """
import os, signal, time
if os.fork() == 0:
    for s in range(1, 65):
        try: signal.signal(s, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: time.sleep(60)
""" + _ANSWER),
    _persist("stopped child", "leaves a process that is stopped", """
import os, signal
if os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)
""" + _ANSWER),
    _persist("zombie", "leaves children that nobody waits for", """
import os
for _ in range(10):
    if os.fork() == 0: os._exit(0)
""" + _ANSWER),
    _persist("thread", "leaves a thread that prints later", """
import threading, time
def later():
    while True:
        time.sleep(0.01)
        print("BREACH", flush=True)
""" + "\ndef f(n):\n    threading.Thread(target=later, daemon=True).start()\n    return 0\n"),
    _persist("timer", "sets a signal for later", """
import signal
signal.signal(signal.SIGALRM, lambda *_: print("late"))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
""" + _ANSWER),
    _persist("file", "leaves a file", "open('left', 'w').write('BREACH')" + _ANSWER),
    _persist("hidden file", "leaves a hidden file", "open('.left', 'w').write('x')" + _ANSWER),
    _persist("locked folder", "leaves a folder without permissions", """
import os
os.makedirs("a/b/c"); open("a/b/c/d", "w").close()
for d in ("a/b/c", "a/b", "a"): os.chmod(d, 0)
""" + _ANSWER),
    _persist("read-only file", "leaves a file that may not be written", "import os\nopen('f', 'w').close()\nos.chmod('f', 0)" + _ANSWER),
    _persist("odd names", "leaves files with names of any bytes", """
import os
for name in (b"-rf", b"\\xff\\xfe", b"\\n", b" ", b"a" * 255, "\\u202e".encode()):
    os.close(os.open(name, os.O_CREAT))
""" + _ANSWER),
    _persist("links", "leaves links to folders and to itself", """
import os
os.symlink("/", "root"); os.symlink("loop", "loop"); os.symlink("/proc/1", "init")
open("f", "w").close(); os.link("f", "g")
""" + _ANSWER),
    _persist("named pipe", "leaves a pipe that blocks whoever opens it", "import os\nos.mkfifo('p')" + _ANSWER),
    _persist("deep tree", "leaves folders deeper than a path may be long", """
import os
for _ in range(1000):
    os.mkdir("d" * 100); os.chdir("d" * 100)
""" + _ANSWER),
    _persist("working directory lost", "removes the working directory's permissions", "import os\nos.chmod('.', 0)" + _ANSWER),
    _persist("open deleted file", "keeps a deleted file open in a child", """
import os, time
file = open("f", "wb"); file.write(b"x" * (1 << 20)); file.flush(); os.unlink("f")
if os.fork() == 0: time.sleep(60)
""" + _ANSWER),
    _persist("attribute", "hides data in an extended attribute", """
import os
try: os.setxattr("/tmp", "user.x", b"BREACH")
except OSError: pass
else: print("BREACH")
""" + _ANSWER),
    _persist("start file", "plants code that Python runs at its start", """
import os
for name in ("sitecustomize.py", "usercustomize.py", "json.py", "solution.py"): open(name, "w").write("print('BREACH')")
os.environ["PYTHONPATH"] = "/tmp"; os.environ["PYTHONSTARTUP"] = "/tmp/json.py"
""" + _ANSWER),
    _persist("environment", "changes the environment", "import os\nos.environ['LD_PRELOAD'] = '/tmp/x.so'\nos.environ['PYTHONHASHSEED'] = '1'" + _ANSWER),
    _persist("niceness", "makes itself slow for good", "import os\nos.nice(19)" + _ANSWER),
    _persist("affinity", "stays on one core", "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})" + _ANSWER),
    _persist("limits lowered", "lowers its limits", """
import resource
for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE): resource.setrlimit(which, (5, 5))
""" + _ANSWER),
    _persist("modules changed", "changes modules in its process", """
import builtins, json, os
json.dumps = json.loads = lambda *a, **k: "BREACH"; os.getpid = lambda: 1; builtins.compile = None
""" + _ANSWER),
)  # fmt: skip
