"""What becomes of programs that run, and how each way of ending is told."""

import time
from typing import Any

import pytest
from gdpo_sandbox import Outcome, Program, ProgramError, SandboxPool, Status
from gdpo_sandbox.protocol import decode_outcomes


def run_text(pool: SandboxPool, source: str, *inputs: str, **options: Any) -> tuple[Outcome, ...]:
    return pool.run(Program(source, inputs or [""], **options)).tests


def call(pool: SandboxPool, source: str, *inputs: Any, entry: str = "f", **options: Any) -> tuple[Outcome, ...]:
    return pool.run(Program(source, inputs or [()], "call", entry, **options)).tests


def test_a_program_reads_stdin_and_writes_stdout_once_a_test(pool: SandboxPool) -> None:
    outcomes = run_text(pool, "print(input()[::-1])", "abc", "", "déjà\r\nvu")
    assert [outcome.stdout for outcome in outcomes] == ["cba\n", "", "\ràjéd\n"]
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.RUNTIME_ERROR, Status.OK]
    assert outcomes[1].error.startswith("EOFError")
    assert [outcome.exit_code for outcome in outcomes] == [0, 1, 0]


@pytest.mark.parametrize("isolation", ["test", "program"])
def test_output_is_complete_however_it_is_written(pool: SandboxPool, isolation: Any) -> None:
    source = """
import atexit, io, os, sys, threading
stray = open(1, "w", closefd=False)
stray.write("stray ")
atexit.register(lambda: print("atexit ", end=""))
wrapped = io.TextIOWrapper(sys.stdout.buffer, write_through=False)
sys.stdout = wrapped
threading.Thread(target=lambda: print("thread ", end="")).start()
print(input(), end=" ")
"""
    for outcome, text in zip(run_text(pool, source, "a", "b", isolation=isolation), "ab", strict=True):
        assert sorted(outcome.stdout.split()) == sorted(["stray", "atexit", "thread", text])


def test_bytes_that_are_not_text_are_escaped(pool: SandboxPool) -> None:
    (outcome,) = run_text(pool, r"import os; os.write(1, b'ok \xff\xfe \0 ' + 'é'.encode())")
    assert outcome.stdout == "ok \\xff\\xfe \0 é"


def test_every_test_finds_an_interpreter_that_nothing_has_run_in(pool: SandboxPool) -> None:
    source = """
import gc, os, signal, sys
print(gc.collect(), len(gc.get_objects()), sys.modules.keys() - sys.builtin_module_names)
print(os.getcwd(), os.umask(0), signal.getsignal(signal.SIGXFSZ), sys.argv, [p for p in sys.path if "sandbox" in p])
x = 1 is 1
"""
    at_once = run_text(pool, source, "", "")
    time.sleep(0.5)  # so that a process has been waiting for the next program
    first, *others = at_once + run_text(pool, source, "", "")
    assert first.stdout.startswith("0 ")
    assert first.stdout.endswith("/tmp 63 0 ['solution.py'] []\n")
    assert "SyntaxWarning" in first.stderr
    assert {(other.stdout, other.stderr) for other in others} == {(first.stdout, first.stderr)}


def test_no_standard_input_is_an_empty_one(pool: SandboxPool) -> None:
    (outcome,) = pool.run(Program("import sys; print(repr(sys.stdin.read()))", [None])).tests
    assert outcome.stdout == "''\n"


def test_surrogates_of_undecodable_input_are_bytes_again_for_the_program(pool: SandboxPool) -> None:
    (outcome,) = run_text(pool, "import sys; print(list(sys.stdin.buffer.read()))", "\udcff")
    assert outcome.stdout == "[255]\n"


@pytest.mark.parametrize(
    ("source", "status", "exit_code"),
    [
        ("import sys; print('so far'); sys.exit(0)", Status.OK, 0),
        ("print('so far'); raise SystemExit", Status.OK, 0),
        ("import os; print('so far', flush=True); os._exit(0)", Status.OK, 0),
        ("import sys; print('so far'); sys.exit(3)", Status.RUNTIME_ERROR, 3),
        ("import os; print('so far', flush=True); os._exit(4)", Status.RUNTIME_ERROR, 4),
        ("import sys; print('so far'); sys.exit('why')", Status.RUNTIME_ERROR, 1),
        ("print('so far'); 1 / 0", Status.RUNTIME_ERROR, 1),
        ("print('so far', flush=True); import os; os.abort()", Status.SIGNAL, -6),
        ("print('so far', flush=True); import os; os.kill(os.getpid(), 9)", Status.SIGNAL, -9),
        ("print('so far'); raise MemoryError", Status.RUNTIME_ERROR, 1),
        ("print('so far'); bytearray(1 << 34)", Status.MEMORY_LIMIT, 1),
    ],
)
def test_how_it_ends_is_told_with_what_it_printed(
    pool: SandboxPool, source: str, status: Status, exit_code: int
) -> None:
    (outcome,) = run_text(pool, source)
    assert (outcome.status, outcome.exit_code, outcome.stdout) == (status, exit_code, "so far\n")


FAILED_ALLOCATIONS = {
    "at once": "def f(): return bytearray(1 << 34)",
    "in steps": "def f():\n    hoard = []\n    while True: hoard.append(bytearray(1 << 24))",
    "caught and passed on": "def f():\n    try: bytearray(1 << 34)\n    except MemoryError as error: raise error",
    "behind another": "def f():\n    try: bytearray(1 << 34)\n    except MemoryError: raise MemoryError('full')",
    "deeper": "def g(): return [0] * (1 << 40)\ndef f(): return g()",
    "without a frame": "import functools\nf = functools.partial(bytearray, 1 << 34)",
    "on definition": "x = bytearray(1 << 34)\ndef f(): pass",
}
OWN_MEMORY_ERRORS = {
    "raised": "def f(): raise MemoryError",
    "with words": "def f(): raise MemoryError('full')",
    "of a class of its own": "class E(MemoryError): pass\ndef f(): raise E",
    "caught and passed on": "def f():\n    try: raise MemoryError\n    except MemoryError: raise",
    "after another error": "def f():\n    try: 1 / 0\n    except ArithmeticError: raise MemoryError",
    "thrown into a generator": "def g(): yield\ndef f():\n    x = g(); next(x); x.throw(MemoryError)",
    "on definition": "raise MemoryError\ndef f(): pass",
}


@pytest.mark.parametrize("source", FAILED_ALLOCATIONS.values(), ids=FAILED_ALLOCATIONS)
def test_an_allocation_that_fails_is_the_memory_limit(pool: SandboxPool, source: str) -> None:
    (called,), (ran,) = call(pool, source), run_text(pool, f"{source}\nf()")
    assert called.status is ran.status is Status.MEMORY_LIMIT


@pytest.mark.parametrize("source", OWN_MEMORY_ERRORS.values(), ids=OWN_MEMORY_ERRORS)
def test_a_memory_error_of_the_programs_own_is_an_error(pool: SandboxPool, source: str) -> None:
    (called,), (ran,) = call(pool, source), run_text(pool, f"{source}\nf()")
    assert called.status is ran.status is Status.RUNTIME_ERROR
    assert called.error


def test_what_the_end_of_a_program_raises_is_told(pool: SandboxPool) -> None:
    source = "class A:\n    def __del__(self): print('gone')\na = A()\n[][0]"
    (outcome,) = run_text(pool, source)
    assert (outcome.status, outcome.stdout) == (Status.RUNTIME_ERROR, "gone\n")
    assert outcome.error == "IndexError: list index out of range"


def test_a_program_that_hangs_at_its_end_times_out(pool: SandboxPool) -> None:
    sources = (
        "import atexit\n@atexit.register\ndef f():\n    while True: pass",
        "class A:\n    def __del__(self):\n        while True: pass\na = A()",
    )
    for source in sources:
        assert run_text(pool, source)[0].status is Status.TIMEOUT


def test_a_traceback_is_on_stderr_and_its_last_line_in_error(pool: SandboxPool) -> None:
    (outcome,) = run_text(pool, "def g():\n    return [][1]\ng()")
    assert outcome.error == "IndexError: list index out of range"
    assert 'File "solution.py", line 2, in g' in outcome.stderr
    assert "worker" not in outcome.stderr


@pytest.mark.parametrize("source", ["def f(:", "x = 1\0", "'\ud800'", "(" * 10_000, "-" * 100_000 + "1", "return 1"])
def test_what_does_not_compile_is_a_compile_error_in_each_test(pool: SandboxPool, source: str) -> None:
    for outcomes in (run_text(pool, source, "", ""), call(pool, source, (), ())):
        assert [outcome.status for outcome in outcomes] == [Status.COMPILE_ERROR] * 2
        assert outcomes[0].error


def test_a_call_gets_and_returns_exact_types(pool: SandboxPool) -> None:
    values = [None, True, 1, 1.0, -0.0, "\ud800", b"\xff", (1, [2, (3,)]), {1: {2}, (1,): frozenset({3})}, 10**5000, 2j]
    outcomes = call(pool, "def f(x): return x, type(x).__name__", *[(value,) for value in values])
    assert [outcome.status for outcome in outcomes] == [Status.OK] * len(values)
    for outcome, value in zip(outcomes, values, strict=True):
        assert outcome.value == (value, type(value).__name__)
        assert type(outcome.value[0]) is type(value)


def test_a_returned_object_with_its_own_equality_equals_nothing(pool: SandboxPool) -> None:
    (outcome,) = call(pool, "class E:\n    __eq__ = lambda *a: True\ndef f(): return E()")
    assert outcome.status is Status.OK
    assert outcome.value != 1
    assert outcome.value.type_name == "E"


def test_a_method_of_solution_is_called_on_a_new_object_each_time(pool: SandboxPool) -> None:
    source = (
        "class Solution:\n    def __init__(self): self.n = 0\n    def f(self, x):\n        self.n += x; return self.n"
    )
    assert [outcome.value for outcome in call(pool, source, (1,), (2,))] == [1, 2]


@pytest.mark.parametrize(("isolation", "values"), [("program", [1, 2, 3]), ("test", [1, 1, 1])])
def test_globals_last_as_long_as_the_process(pool: SandboxPool, isolation: Any, values: list[int]) -> None:
    source = "n = 0\ndef f():\n    global n\n    n += 1\n    return n"
    assert [outcome.value for outcome in call(pool, source, (), (), (), isolation=isolation)] == values


def test_each_call_has_its_own_output_and_nothing_on_stdin(pool: SandboxPool) -> None:
    outcomes = call(pool, "import sys\ndef f(x): print(x, repr(sys.stdin.read())); return x", ("a",), ("b",))
    assert [outcome.stdout for outcome in outcomes] == ["a ''\n", "b ''\n"]


def test_calls_after_a_failed_one_are_made_all_the_same(pool: SandboxPool) -> None:
    source = """
import os, sys
def f(x):
    if x == "raise": raise KeyError(x)
    if x == "exit": sys.exit(0)
    if x == "vanish": os._exit(0)
    if x == "crash": os.abort()
    return x
"""
    outcomes = call(pool, source, *[(x,) for x in (1, "raise", 2, "exit", "vanish", 3, "crash", 4)])
    assert [outcome.status.name for outcome in outcomes] == (
        ["OK", "RUNTIME_ERROR", "OK", "RUNTIME_ERROR", "NO_RESULT", "OK", "SIGNAL", "OK"]
    )
    assert [outcome.value for outcome in outcomes] == [1, None, 2, None, None, 3, None, 4]


def test_a_missing_function_is_a_runtime_error_that_names_it(pool: SandboxPool) -> None:
    (outcome,) = call(pool, "def g(): pass")
    assert outcome.status is Status.RUNTIME_ERROR
    assert "'f'" in outcome.error


def test_a_definition_that_fails_is_not_tried_for_each_test(pool: SandboxPool) -> None:
    outcomes = call(pool, "while True: pass", *[()] * 20)
    assert {outcome.status for outcome in outcomes} == {Status.TIMEOUT}
    assert outcomes[0].wall_s == outcomes[-1].wall_s


def test_usage_is_measured(pool: SandboxPool) -> None:
    source = """
def f(kind):
    import time
    if kind == "cpu":
        start = time.process_time()
        while time.process_time() < start + 0.3: pass
    if kind == "wall": time.sleep(0.3)
    if kind == "memory": return len(bytearray(100 << 20))
"""
    cpu, wall, memory = call(pool, source, ("cpu",), ("wall",), ("memory",), isolation="test")
    assert 0.3 <= cpu.cpu_s <= cpu.wall_s + 0.1
    assert wall.wall_s >= 0.3 > wall.cpu_s
    assert memory.peak_memory_mb >= 100 > wall.peak_memory_mb


def test_each_outcome_gets_its_own_peak_of_memory(pool: SandboxPool) -> None:
    """The first is too large to wait for the others, and comes before its peak is known."""
    source = "def f(mb, characters): return len(bytearray(mb << 20)) and 'x' * characters"
    outcomes = call(pool, source, (100, 100_000), (1, 1), (100, 1), isolation="test")
    first, second, third = (outcome.peak_memory_mb for outcome in outcomes)
    assert 0 < second < 100 <= min(first, third)


def test_the_last_outcomes_come_with_their_peaks_of_memory() -> None:
    fields = {"status": "ok", "error": "", "stdout": 0, "value": None, "stderr": "", "exit_code": 0}
    message = {"outcomes": [fields | {"cpu_s": 0.1, "wall_s": 0.2}] * 2}
    early = decode_outcomes(message, memoryview(b""))
    last = decode_outcomes(message | {"peaks": [1.0, 2.0, 3.0]}, memoryview(b""))
    assert [outcome.peak_memory_mb for outcome in early] == [0.0, 0.0]
    assert [outcome.peak_memory_mb for outcome in last] == [2.0, 3.0]


def test_a_program_without_tests_has_no_outcomes(pool: SandboxPool) -> None:
    assert pool.run(Program("1 / 0", [])).tests == ()


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (Program("", ["a", 1]), r"inputs\[1\] .*int"),
        (Program("", ["\ud800"]), "surrogates"),
        (Program("", [(1,), (range(3),)], "call", "f"), r"inputs\[1\] .*range"),
        (Program("", ["ab"], "call", "f"), "sequence of arguments"),
        (Program("", [3], "call", "f"), "sequence of arguments"),
    ],
)
def test_an_input_that_cannot_be_sent_is_named(pool: SandboxPool, program: Program, problem: str) -> None:
    with pytest.raises(ProgramError, match=problem):
        pool.run(program)


def test_large_inputs_and_outputs_pass_each_other(pool: SandboxPool) -> None:
    line = "x" * 900_000
    outcomes = run_text(pool, "print(input())", *[line] * 6)
    assert [outcome.stdout for outcome in outcomes] == [line + "\n"] * 6
    outcomes = call(pool, "def f(x): return x", *[(line,)] * 6, *[(i,) for i in range(300)])
    assert [outcome.value for outcome in outcomes] == [line] * 6 + list(range(300))
