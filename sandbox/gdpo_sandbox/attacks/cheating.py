"""Programs that want the right answer without working it out, or want any answer to be right."""

from functools import partial

from gdpo_sandbox.attacks.attack import attack

_cheat = partial(attack, "cheating")

ATTACKS = (
    _cheat("equal to all", "returns an object that equals everything", """
class Yes:
    def __eq__(self, other): return True
    def __hash__(self): return 0
def f(n): return Yes()
"""),
    _cheat("number equal to all", "returns a number that equals every other", """
class Yes(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
def f(n): return Yes(-1)
"""),
    _cheat("text equal to all", "returns a text that equals every other", """
class Yes(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(n): return Yes("?")
"""),
    _cheat("list equal to all", "returns a list whose items depend on who asks", """
class Yes(list):
    def __iter__(self): return iter(())
    def __len__(self): return 0
    def __eq__(self, other): return True
def f(n): return Yes([0])
"""),
    _cheat("class that lies", "returns an object that says it is a number", """
class Lie:
    __class__ = int
    def __int__(self): return 0
    def __index__(self): return 0
def f(n): return Lie()
"""),
    _cheat("reducing object", "returns an object that runs code where it is copied", """
import os
class Bomb:
    def __reduce__(self): return (os.system, ("touch /tmp/BREACH",))
    def __repr__(self): raise MemoryError
def f(n): return Bomb()
"""),
    _cheat("repr bomb", "returns an object whose text never ends", "class R:\n    def __repr__(self): return 'x' * (1 << 30)\ndef f(n): return R()"),
    _cheat("type equal to all", "returns a class that equals everything", "class M(type):\n    def __eq__(self, other): return True\n    __hash__ = type.__hash__\nclass Y(metaclass=M): pass\ndef f(n): return Y"),
    _cheat("not a number", "returns a NaN", "def f(n): return float('nan')"),
    _cheat("generator", "returns a generator", "def f(n): yield from range(10 ** 9)"),
    _cheat("builtins patched", "makes comparison and length lie", """
import builtins
builtins.len = lambda x: 0
builtins.all = builtins.any = lambda x: True
builtins.isinstance = lambda *a: True
builtins.sorted = builtins.sum = lambda *a, **k: 0
def f(n): return 0
"""),
    _cheat("encoder patched", "makes the encoder of results lie", """
import json, sys
json.dumps = lambda *a, **k: '["returned", {"value": "1"}]'
json.encoder.encode_basestring_ascii = json.dumps
for module in list(sys.modules.values()):
    if hasattr(module, "encode") and "values" in getattr(module, "__name__", ""): module.encode = lambda *a: "1"
def f(n): return 0
"""),
    _cheat("judge imported", "looks for the judge's code", """
import importlib, sys
sys.path += ["/opt/sandbox", "/opt/sandbox/worker"]
for name in ("worker", "judge", "tests", "comparison", "gdpo_bench", "gdpo_envs", "gdpo_sandbox"):
    try: importlib.import_module(name)
    except BaseException: pass
def f(n): return 0
"""),
    _cheat("frames", "looks for expected values in the frames above", """
import sys
def f(n):
    found, frame = [], sys._getframe(1)
    while frame:
        found += [v for k, v in frame.f_locals.items() if isinstance(v, int) and ("expect" in k or "want" in k)]
        frame = frame.f_back
    return found[0] if found else 0
"""),
    _cheat("garbage collector", "looks for expected values in all objects", """
import gc
def f(n):
    for o in gc.get_objects():
        if isinstance(o, dict):
            for key in ("expected", "outputs", "answer", "answers", "tests", "expected_output"):
                if key in o and o is not globals(): return o[key]
    return 0
"""),
    _cheat("own memory", "searches its memory for expected values", """
import re
def f(n):
    for line in open("/proc/self/maps"):
        start, end, mode = re.match(r"(\\w+)-(\\w+) (\\S+)", line).groups()
        if "rw" not in mode or "[heap]" not in line: continue
        with open("/proc/self/mem", "rb", 0) as memory:
            memory.seek(int(start, 16))
            try: text = memory.read(int(end, 16) - int(start, 16))
            except OSError: continue
            found = re.search(rb'"(?:expected|outputs?)": ?\\[?(\\d+)', text)
            if found: return int(found[1])
    return 0
"""),
    _cheat("files searched", "looks for expected values in files", """
import os
def f(n):
    for folder, _, names in os.walk("/"):
        if folder.startswith(("/proc", "/sys", "/usr")): continue
        for name in names:
            if any(word in name for word in ("expect", "answer", "output", "test")):
                try: return int(open(os.path.join(folder, name)).read())
                except (OSError, ValueError): pass
    return 0
"""),
    _cheat("environment and arguments", "looks for expected values in the environment and the arguments", """
import os, sys
def f(n): return next((v for v in [*os.environ.values(), *sys.argv] if "expected" in v), 0)
"""),
    _cheat("later inputs", "reads the inputs of later tests", """
import os
def read(fd):
    try: return os.pread(fd, 1 << 16, 0)
    except OSError: return b""
def f(n): return [read(fd).decode("latin-1") for fd in range(3, 64)]
"""),
    _cheat("earlier answers", "keeps earlier inputs and returns them", "seen = []\ndef f(n):\n    seen.append(n)\n    return seen"),
    _cheat("arguments changed", "changes its arguments instead of answering", "def f(n, *rest):\n    return n.__class__(n)"),
    _cheat("asks its caller", "finds the caller and calls it again", """
import sys
def f(n):
    frame = sys._getframe(1)
    return {k: type(v).__name__ for k, v in frame.f_locals.items()} and 0
"""),
    _cheat("tracing", "changes values while others compare them", """
import sys
def trace(frame, event, argument):
    if "expected" in frame.f_locals: frame.f_locals["expected"] = 0
    return trace
sys.settrace(trace); sys.setprofile(trace)
def f(n): return 0
"""),
    _cheat("every answer", "prints every number there might be", "print(*range(1010))", mode="stdio"),
    _cheat("echo", "prints its input", "print(input())", mode="stdio"),
    _cheat("nothing", "prints nothing", "", mode="stdio"),
)  # fmt: skip
