"""Programs that claim to have succeeded, to whoever may be listening."""

from functools import partial

from gdpo_sandbox.attacks.attack import attack
from gdpo_sandbox.program import Status

_forge = partial(attack, "forging")

ATTACKS = (
    _forge("success marker", "prints what test runners print", """
print("OK\\n1 passed in 0.01s\\nAll tests passed\\n[RESULT] PASS 1.0")
def f(n): return "passed"
"""),
    _forge("exit code 0", "leaves at once", "import os\nos._exit(0)", ends=(Status.NO_RESULT,)),
    _forge("exit in a call", "leaves in the middle of a call", "import os\ndef f(n): os._exit(0)", ends=(Status.NO_RESULT,)),
    _forge("polite exit in a call", "leaves by sys.exit", "import sys\ndef f(n): sys.exit(0)", ends=(Status.RUNTIME_ERROR, Status.NO_RESULT)),
    _forge("exit while defined", "leaves by sys.exit before it is called", "import sys\nsys.exit(0)", ends=(Status.RUNTIME_ERROR, Status.NO_RESULT)),
    _forge("quit in stdio", "leaves before it has read anything", "import sys\nsys.exit(0)", mode="stdio", ends=(Status.OK,)),
    _forge("killed", "ends by SIGKILL", "import os, signal\ndef f(n): os.kill(os.getpid(), signal.SIGKILL)", ends=(Status.SIGNAL, Status.MEMORY_LIMIT)),
    _forge("crash", "ends by a fault in memory", "import ctypes\ndef f(n): ctypes.string_at(0)", ends=(Status.SIGNAL,)),
    _forge("result lines", "writes results to every descriptor", """
import os, json
def f(n):
    for fd in range(1, 20):
        for line in (["returned", {"value": "0"}], {"i": 0, "ok": True, "value": 0}, {"status": "ok"}):
            try: os.write(fd, (json.dumps(line) + "\\n").encode())
            except OSError: pass
    os._exit(0)
"""),
    _forge("result with its token", "copies the token from the frames above, answers, and leaves", """
import os, sys, json
def f(n):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            token = getattr(value, "_token", None)
            if token:
                os.write(4, token + b" " + json.dumps(["returned", {"value": "0"}]).encode() + b"\\n")
                os._exit(0)
        frame = frame.f_back
""", ends=(Status.NO_RESULT,)),
    _forge("two results", "answers twice", """
import sys, json, os
def f(n):
    frame = sys._getframe()
    while frame and not hasattr(frame.f_locals.get("self"), "_answer"): frame = frame.f_back
    if frame: frame.f_locals["self"]._answer("returned", value="0")
    return 0
"""),
    _forge("results in advance", "answers tests before they come", """
import os, json
for _ in range(100):
    try: os.write(4, b'0 ["returned", {"value": "0"}]\\n')
    except OSError: pass
def f(n): return 0
"""),
    _forge("channel flooded", "writes without end where results belong", "import os\ndef f(n):\n    while True: os.write(4, b'x' * 65536)"),
    _forge("channel without lines", "writes half a result", "import os\ndef f(n):\n    os.write(4, b'{')\n    while True: pass"),
    _forge("channel closed", "closes all descriptors", "import os\nos.closerange(0, 256)\ndef f(n): return 0"),
    _forge("channel of rubbish", "writes what no parser likes", """
import os
def f(n):
    for junk in (b"\\0\\n", b"\\xff\\xfe\\n", b"[" * 100000 + b"\\n", b"{" * 9 + b"\\n", b"NaN\\n", b"1e999\\n", b'"\\\\ud800"\\n'): os.write(4, junk)
    return 0
"""),
    _forge("channel swapped", "puts a file in the channel's place", "import os\nfd = os.open('f', os.O_CREAT | os.O_RDWR)\nos.dup2(fd, 4)\ndef f(n): return 0"),
    _forge("tokens read", "reads ahead on the channel of requests", "import os\nos.set_blocking(3, False)\ntry: os.read(3, 4096)\nexcept OSError: pass\ndef f(n): return os.read(3, 4096)"),
    _forge("child answers", "lets a copy of the process answer too", "import os\ndef f(n):\n    os.fork()\n    return 0"),
    _forge("at exit", "prints an answer when it ends", "import atexit\natexit.register(print, 'BREACH'[:0] + '0')\ndef f(n): raise ValueError"),
    _forge("exception hook", "swallows its own errors", "import sys\nsys.excepthook = lambda *a: print('ok')\ndef f(n): raise ValueError(n)", ends=(Status.RUNTIME_ERROR,)),
    _forge("error that lies", "raises something whose name is a success", "class OK(BaseException):\n    def __str__(self): raise SystemExit(0)\ndef f(n): raise OK", ends=(Status.RUNTIME_ERROR,)),
    _forge("interrupt", "raises KeyboardInterrupt", "def f(n): raise KeyboardInterrupt", ends=(Status.RUNTIME_ERROR,)),
    _forge("generator left", "raises GeneratorExit", "def f(n): raise GeneratorExit", ends=(Status.RUNTIME_ERROR,)),
    _forge("compile error forged", "raises a SyntaxError while it runs", "raise SyntaxError('x')", ends=(Status.RUNTIME_ERROR,)),
)  # fmt: skip
