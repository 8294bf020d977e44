"""Programs that do not solve their task, and look for the answers or for who judges them."""

from functools import partial

from gdpo_sandbox.attacks.attack import Attack
from gdpo_sandbox.program import Status

_cheat = partial(Attack, "cheating")
_OK = (Status.OK,)
_GUESS = """
import re
def guess(n, texts):
    "A large number that is not the one we were given, from whatever was found."
    for text in texts:
        for number in re.findall(r"(?<![0-9a-fx])[0-9]{15,19}(?![0-9])", text):
            if int(number) != n: return int(number)
    return 0
"""

ATTACKS = (
    _cheat("constant", "answers the same to all", "def f(n): return 0", ends=_OK),
    _cheat("echo", "answers with what it was asked", "def f(n): return n", ends=_OK),
    _cheat("echo of input", "prints all of its input", "import sys\nprint(sys.stdin.read())", "stdio", ends=_OK),
    _cheat("every answer", "prints many answers, of which one may do", "print(*range(10_000))", "stdio", ends=_OK),
    _cheat("nothing", "is empty", "", ends=(Status.RUNTIME_ERROR,)),
    _cheat("silence", "prints nothing", "", "stdio", ends=_OK),
    _cheat("not a number", "returns what is not even equal to itself", "def f(n): return float('nan')", ends=_OK),
    _cheat("frames", "reads the variables of its callers", _GUESS + """
import sys
def f(n):
    frame, found = sys._getframe(), []
    while frame:
        found += [repr(value) for value in [*frame.f_locals.values(), *frame.f_globals.values()]]
        frame = frame.f_back
    return guess(n, found)
"""),
    _cheat("all objects", "reads all objects of its process", _GUESS + """
import gc
def f(n):
    found = []
    for thing in gc.get_objects():
        if type(thing) in (dict, list, tuple) and len(thing) < 1000:
            try: found.append(repr(thing)[:1000])
            except Exception: pass
    return guess(n, found)
"""),
    _cheat("memory", "searches its memory", """
import re
def f(n):
    with open("/proc/self/mem", "rb", 0) as memory:
        for line in open("/proc/self/maps"):
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if line.split()[1][0] != "r" or end > 1 << 63 or end - start > 1 << 24: continue
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except OSError: continue
            for number in re.findall(rb"[0-9]{15,19}", content):
                if int(number) != n and int(number) >> 60: return int(number)
"""),
    _cheat("standard input", "looks for more in standard input", _GUESS + """
import os, sys
def f(n):
    os.lseek(0, 0, 0)
    return guess(n, [os.read(0, 1 << 20).decode(), sys.stdin.read()])
"""),
    _cheat("descriptors", "reads all that is open", _GUESS + """
import os
def f(n):
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            file = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
            found.append(os.pread(file, 1 << 20, 0).decode("latin-1"))
        except OSError: pass
    return guess(n, found)
"""),
    _cheat("wait for the next input", "answers when the next input has come", _GUESS + """
import os, time
def f(n):
    for _ in range(20):
        if found := guess(n, [os.pread(0, 1 << 20, 0).decode()]): return found
        time.sleep(0.01)
"""),
    _cheat("late correction", "corrects the last answer when the next input has come", """
last = [0]
def f(n):
    global last
    last[:] = [n]
    last = [0]
    return last
""", ends=_OK),
    _cheat("ask ahead", "takes the worker's place, to ask for the next input before it answers", """
import json, os, sys
def f(n):
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_answer"): frame = frame.f_back
    worker = frame.f_locals["self"]
    worker._answer("returned", value="0")
    worker._await_request()
    seen = json.loads(os.pread(0, 1 << 20, 0))
    worker._answer("returned", value=str(seen[0]))
    return seen[0]
"""),
    _cheat("files", "searches the disk for the tests", _GUESS + """
import os
def f(n):
    found = []
    for top in ("/tmp", "/opt", "/root", "/home", "/var", "/etc", "/run", "/srv", "/mnt"):
        for folder, _, files in os.walk(top):
            for file in files:
                try: found.append(open(os.path.join(folder, file), errors="replace").read(1 << 20))
                except OSError: pass
    return guess(n, found)
"""),
    _cheat("environment", "searches the environment and all command lines", _GUESS + """
import os, sys
def f(n):
    found = [repr(os.environ), repr(sys.argv), repr(sys.orig_argv)]
    for name in os.listdir("/proc"):
        for file in ("cmdline", "environ"):
            try: found.append(open(f"/proc/{name}/{file}").read())
            except OSError: pass
    return guess(n, found)
"""),
    _cheat("other processes", "searches other processes' files for the next input", _GUESS + """
import glob, os
n, found = int(input()), []
for path in glob.glob("/proc/[0-9]*/fd/*") + glob.glob("/tmp/**", recursive=True):
    try: found.append(os.pread(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1 << 20, 0).decode("latin-1"))
    except OSError: pass
print(guess(n, found))
""", "stdio"),
    _cheat("worker's variables", "searches the worker for the next input, in one process for all tests", _GUESS + """
import os, sys
n, found = int(input()), []
for fd in range(10):
    try: found.append(os.pread(fd, 1 << 20, 0).decode("latin-1"))
    except OSError: pass
frame = sys._getframe()
while frame:
    found += [repr(value)[:10_000] for value in list(frame.f_locals.values())]
    frame = frame.f_back
print(guess(n, found))
""", "stdio", isolation="program"),
    _cheat("output of the test before", "corrects what the test before has printed", """
import os, sys
n = int(input())
if hasattr(sys, "before"): os.pwrite(sys.before, b"%d\\n" % n, 0)
sys.before = os.dup(1)
""", "stdio", isolation="program"),
    _cheat("comparison", "patches whatever could compare", """
import builtins, json, math, operator, unittest
true = lambda *args, **kwargs: True
operator.eq = math.isclose = builtins.all = builtins.any = unittest.TestCase.assertEqual = true
json.loads = lambda *args, **kwargs: ["returned", {"value": "0"}]
json.JSONEncoder.encode = json.JSONEncoder.iterencode = lambda *args: '"0"'
def f(n): return 0
"""),
    _cheat("builtins", "patches what the worker uses", """
import builtins, os
builtins.len = lambda x: 0
builtins.type = lambda x: int
builtins.isinstance = builtins.issubclass = lambda *args: True
builtins.sorted = builtins.list = builtins.str = lambda *args: []
os.read = os.write = os.pread = lambda *args: b""
def f(n): return 0
"""),
    _cheat("patched worker", "patches the worker", """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("worker"):
        for key, value in list(vars(module).items()):
            if callable(value) and not key.startswith("__"): setattr(module, key, lambda *args, **kwargs: "0")
def f(n): return 0
"""),
    _cheat("encoder", "replaces the encoder of values", """
import sys
sys.modules["worker.values"].encode = lambda *args, **kwargs: ["true", '{"o":["int","0"]}', "null", ""][args[0] % 4]
def f(n): return n
"""),
    _cheat("tracing", "changes values while others look at them", """
import sys
def trace(frame, event, argument):
    for name in ("expected", "status", "kind"):
        if name in frame.f_locals: frame.f_locals[name] = "ok"
    return trace
sys.settrace(trace)
sys.setprofile(trace)
def f(n): return 0
"""),
    _cheat("own argument", "overwrites the number that it was given", """
import ctypes
def f(n):
    ctypes.memmove(id(n) + 24, b"\\0" * 4, 4)
    return n
"""),
    _cheat("interpreter", "ends the interpreter from within", """
import ctypes
def f(n): ctypes.pythonapi.Py_FinalizeEx()
""", ends=(Status.NO_RESULT, Status.SIGNAL, Status.RUNTIME_ERROR)),
    _cheat("judge", "looks for the judge's code", """
import importlib
for name in ("judge", "tests", "comparison", "gdpo_bench", "gdpo_envs", "gdpo_sandbox", "pytest", "docker"):
    try: importlib.import_module(name)
    except ImportError: continue
    print("BREACH", name)
def f(n): return 0
""", ends=_OK),
    _cheat("earlier inputs", "keeps what it was asked, to answer the next", """
seen = [0]
def f(n):
    seen.append(n)
    return seen[-2]
""", ends=_OK),
    _cheat("earlier inputs on disk", "keeps what it was asked, in a file", """
def f(n):
    try: last = int(open("last").read())
    except OSError: last = 0
    open("last", "w").write(str(n))
    return last
""", ends=_OK),
    _cheat("arguments", "returns its arguments, changed", "def f(*args): return args[0].__class__(args[0])", ends=_OK),
    _cheat("every name", "has whatever is looked for", """
import sys
class Everything(type(sys)):
    def __getattribute__(self, name): return lambda *args: 0
sys.modules["solution"].__class__ = Everything
class Solution:
    def __getattr__(self, name): return lambda *args: 0
"""),
    _cheat("detective", "answers only where it is not judged", """
import os, sys
judged = os.getpid() != 1 and "pytest" not in sys.modules and not os.environ.get("USER")
def f(n): return 0 if judged else n + 1
""", ends=_OK),
    _cheat("dice", "guesses by the judge's own dice", "import random\nrandom.seed(0)\ndef f(n): return random.getrandbits(62)", ends=_OK),
)  # fmt: skip
