"""Programs that try to pass for something that they are not: finished, right, or somebody else."""

from functools import partial

from gdpo_sandbox.attacks.attack import Attack
from gdpo_sandbox.program import Status

_forge = partial(Attack, "forging")
_OK = (Status.OK,)
_WORKER = """
import json, os, sys
def worker():
    "The object of the worker that has called us."
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_token"): frame = frame.f_back
    return frame.f_locals["self"]
def line(kind, value="", **details): return b"%b %b\\t%b\\n" % (worker()._token, json.dumps([kind, details]).encode(), value.encode())
"""
"""The worker's own format of answers, which anybody can read in its source."""

ATTACKS = (
    _forge("success marker", "prints what test runners print when all is well", """
import sys
for stream in (sys.stdout, sys.stderr):
    print("PASSED", "ok", "1 passed in 0.01s", "All tests passed", "OK", True, "[RESULT] 1.0", file=stream)
def f(n): return "passed"
""", ends=_OK),
    _forge("exit code 0", "leaves at once, as if all were well", "import os\nos._exit(0)", ends=(Status.NO_RESULT,)),
    _forge("exit code 0 in a call", "leaves in the middle of a call", "import os\ndef f(n): os._exit(0)", ends=(Status.NO_RESULT,)),
    _forge("polite exit", "leaves by sys.exit before it is called", "import sys\nsys.exit(0)", ends=(Status.RUNTIME_ERROR, Status.NO_RESULT)),
    _forge("polite exit in a call", "leaves by SystemExit in a call", "def f(n): raise SystemExit(0)", ends=(Status.RUNTIME_ERROR, Status.NO_RESULT)),
    _forge("exit unread", "leaves before it has read anything", "import sys\nsys.exit(0)", "stdio", ends=_OK),
    _forge("exit codes", "ends with the exit codes that workers use", """
import os
def f(n): os._exit([65, 70, 0, 137, 124][n % 5])
""", ends=(Status.RUNTIME_ERROR, Status.NO_RESULT)),
    _forge("signals of limits", "kills itself by the signals that limits send", """
import os, signal
def f(n): os.kill(os.getpid(), [signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGTERM][n % 4])
""", ends=(Status.SIGNAL, Status.TIMEOUT, Status.OUTPUT_LIMIT, Status.MEMORY_LIMIT)),
    _forge("result everywhere", "writes results to every descriptor", """
import json, os
def f(n):
    for fd in range(1, 20):
        for lie in ('["returned", {}]\\t0', {"i": 0, "ok": True, "value": 0}, {"status": "ok"}):
            try: os.write(fd, ((lie if isinstance(lie, str) else json.dumps(lie)) + "\\n").encode())
            except OSError: pass
    os._exit(0)
""", ends=(Status.NO_RESULT,)),
    _forge("result before", "writes results before it is called", """
import os
for _ in range(100): os.write(4, b'0 ["returned", {}]\\t0\\n')
def f(n): return 0
""", ends=(Status.NO_RESULT,)),
    _forge("result with its token", "writes a result as the worker would, and leaves", _WORKER + """
def f(n):
    os.write(4, line("returned", value=str(n)))
    os._exit(0)
""", ends=(Status.NO_RESULT,)),
    _forge("many results", "writes thousands of results", _WORKER + """
def f(n):
    answer = line("returned", value=str(n))
    for _ in range(5000): os.write(4, answer)
    return n
"""),
    _forge("tokens ahead", "reads the tokens of later tests, to answer them at once", _WORKER + """
def f(n):
    os.write(4, line("returned", value="0"))
    os.set_blocking(3, False)
    for _ in range(1000):
        try: os.write(4, os.read(3, 16) + b' ["returned", {}]\\t0\\n')
        except OSError: pass
    return 0
"""),
    _forge("wrong shapes", "writes answers of wrong types and shapes", _WORKER + """
SHAPES = ["returned"], ["returned", {}], ["returned", {"value": "0"}], ["returned", None], [[], {}], [{}, []], None, [None, None]
def f(n):
    os.write(4, worker()._token + b" " + json.dumps(SHAPES[n % len(SHAPES)]).encode() + b"\\n")
"""),
    _forge("wrong values", "writes values that no encoder has made", _WORKER + """
VALUES = '{"t":0}', '{"d":[[[],1]]}', '{"s":[{"d":[]}]}', "[" * 5000, '{"c":[1]}', '{"o":[1,2]}', '{"x":1}', '{"f":"x"}', "1e999"
def f(n):
    child = worker()
    child._answer("returned", value=VALUES[n % len(VALUES)])
    child._await_request()
    child._answer("returned", value=VALUES[n // 7 % len(VALUES)])
    child._await_request()
"""),
    _forge("answer that swells", "writes an answer that takes thirty times its length where it is read", _WORKER + """
def f(n):
    start = worker()._token + b' ["returned", {"value": ['
    for part in (start, b"{}," * 300_000, b"0]}]\\n"): os.write(4, part)
"""),
    _forge("value that swells", "writes a value that takes thirty times its length where it is read", _WORKER + """
def f(n): os.write(4, line("returned", "[" + "{}," * 300_000 + "0]"))
"""),
    _forge("long head", "writes an answer whose first part is as long as a value", _WORKER + """
def f(n): os.write(4, line("raised", error="x" * 1_000_000, out_of_memory=False))
"""),
    _forge("rubbish", "writes what no parser likes", """
import os
def f(n):
    for junk in (b"\\0\\n", b"\\xff\\xfe\\n", b"[" * 100_000 + b"\\n", b"NaN\\n", b"1e999\\n", b'"\\\\ud800"\\n'): os.write(4, junk)
    return 0
"""),
    _forge("absurd end", "says that it ended with an exit code of 400 digits", _WORKER + """
print(0)
os.write(4, line("finished", exit_code=10 ** 400, error="", out_of_memory=False, reusable=True))
""", "stdio"),
    _forge("excuse", "blames the sandbox", _WORKER + """
def f(n):
    os.write(4, line("sandbox error", status="sandbox error", failed=True))
    os.write(4, line("raised", error="sandbox error", out_of_memory=False))
"""),
    _forge("endless answer", "writes an answer that has no end", "import os\nwhile True: os.write(4, b'x' * 65536)"),
    _forge("dripping answer", "writes an answer that has no end, byte by byte", "import os\nwhile True: os.write(4, b'x')"),
    _forge("half an answer", "writes half an answer and waits", "import os, time\ndef f(n):\n    os.write(4, b'{')\n    time.sleep(60)", ends=(Status.TIMEOUT,)),
    _forge("channel closed", "closes all descriptors", "import os\nos.closerange(0, 256)\ndef f(n): return 0"),
    _forge("channel closed in a call", "closes the channels during a call", "import os\ndef f(n): os.closerange(3, 100)"),
    _forge("channel swapped", "puts a file in the channel's place", """
import os
os.dup2(os.open("f", os.O_CREAT | os.O_RDWR), 4)
def f(n): return 0
"""),
    _forge("child answers", "forks, ends, and lets the child answer", """
import os
def f(n):
    if os.fork(): os._exit(0)
    return 0
""", ends=(Status.NO_RESULT,)),
    _forge("both answer", "forks and lets both answer", "import os\ndef f(n):\n    os.fork()\n    return 0"),
    _forge("child takes over", "has a child that poses as the process that it came from", _WORKER + """
def f(n):
    child = worker()
    if os.fork(): os._exit(0)
    child._pid = os.getpid()
    return 0
"""),
    _forge("other program", "becomes another program in the middle of a call", """
import os, sys
def f(n): os.execv(sys.executable, [sys.executable, "-c", "print(0)"])
""", ends=(Status.NO_RESULT, Status.RUNTIME_ERROR)),
    _forge("exception hook", "says nothing of its errors", """
import os, sys
sys.excepthook = lambda *args: os._exit(0)
def f(n): raise ValueError
""", ends=(Status.RUNTIME_ERROR, Status.NO_RESULT)),
    _forge("silent error", "raises an exception that fails when it is described", """
class Meta(type): __name__ = property(lambda cls: 1 / 0)
class Silent(BaseException, metaclass=Meta):
    def __str__(self): raise self
    __repr__ = __str__
def f(n): raise Silent
"""),
    _forge("odd errors", "raises what is more than an error", """
def f(n): raise [KeyboardInterrupt, GeneratorExit, StopIteration, SyntaxError("x")][n % 4]
""", ends=(Status.RUNTIME_ERROR,)),
    _forge("no memory", "pretends to lack memory", "def f(n): raise MemoryError('sandbox error')", ends=(Status.MEMORY_LIMIT, Status.RUNTIME_ERROR)),
    _forge("at exit", "prints an answer when it ends", "import atexit\natexit.register(print, 0)\ndef f(n): raise ValueError"),
    _forge("liar", "returns an object that is equal to all", """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __repr__(self): return "0"
    def __reduce__(self): return (eval, ("0",))
    __class__ = int
def f(n): return Liar()
""", ends=_OK),
    _forge("lying number", "returns a number that is equal to all", """
class Liar(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def __repr__(self): raise SystemExit
    __str__ = __index__ = __int__ = __bool__ = __repr__
    __class__ = bool
def f(n): return Liar(n)
""", ends=_OK),
    _forge("lying texts and lists", "returns texts, lists and dicts that are equal to all", """
def liar(base):
    names = "__iter__ __len__ __getitem__ items keys values encode __str__ __repr__ isascii __float__".split()
    lies = dict.fromkeys(names, lambda self, *args: 1 / 0) | {"__eq__": lambda *args: True, "__hash__": lambda self: 0}
    return type("Liar", (base,), lies)
def f(n): return [liar(base)() for base in (str, list, dict, set, bytes, tuple, float, complex, frozenset)]
""", ends=_OK),
    _forge("lying class", "returns an object whose class lies about itself", """
class Meta(type):
    def __eq__(cls, other): return True
    def __subclasscheck__(cls, other): return True
    def __instancecheck__(cls, other): return True
    def __hash__(cls): return hash(int)
    __name__ = "int"
class Liar(int, metaclass=Meta): pass
def f(n): return Liar(n)
"""),
    _forge("pickle", "returns what runs code when it is unpickled", """
import pickle
class Bomb:
    def __reduce__(self): return (print, ("x",))
def f(n): return pickle.dumps(Bomb()) if n % 2 else Bomb()
""", ends=_OK),
    _forge("endless text", "returns an object whose text never ends", """
class Long:
    def __repr__(self): return "x" * (1 << 40)
def f(n): return Long()
"""),
    _forge("generator", "returns something that yields whatever is asked for", "def f(n):\n    while True: yield n", ends=_OK),
    _forge("coroutine", "returns a coroutine", "async def f(n): return n", ends=_OK),
    _forge("late value", "returns a list that a thread goes on changing", """
import threading
def f(n):
    x = [0]
    def change():
        while True: x.append(n), x.pop()
    threading.Thread(target=change, daemon=True).start()
    return x
"""),
)  # fmt: skip
