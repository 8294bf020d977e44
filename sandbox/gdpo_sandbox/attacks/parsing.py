"""Sources that hurt whoever reads them, and texts that hurt whoever shows them."""

from functools import partial

from gdpo_sandbox.attacks.attack import attack
from gdpo_sandbox.program import Status

_parse = partial(attack, "parsing")
_UNREAD = (
    Status.COMPILE_ERROR,
    Status.RUNTIME_ERROR,
    Status.SIGNAL,
    Status.TIMEOUT,
    Status.MEMORY_LIMIT,
    Status.NO_RESULT,
)

ATTACKS = (
    _parse("parentheses", "nests parentheses 100,000 deep", "(" * 100_000, ends=_UNREAD),
    _parse("lists", "nests lists 100,000 deep", "[" * 100_000 + "]" * 100_000, ends=_UNREAD),
    _parse("unary", "writes a million minus signs", "x = " + "-" * 1_000_000 + "1", ends=(*_UNREAD, Status.OK)),
    _parse("sum", "adds a hundred thousand terms", "x = " + "1+" * 100_000 + "1", ends=(*_UNREAD, Status.OK)),
    _parse("attributes", "takes attributes of attributes", "x = a" + ".a" * 100_000, ends=_UNREAD),
    _parse("indentation", "indents a hundred levels", "".join(" " * i + "if 1:\n" for i in range(200)), ends=_UNREAD),
    _parse("lambda", "nests lambdas", "x = " + "lambda:" * 100_000 + "0", ends=(*_UNREAD, Status.OK)),
    _parse("f-string", "nests f-strings", "x = " + "f'{" * 200 + "1" + "}'" * 200, ends=_UNREAD),
    _parse("power folded", "has the compiler work out a power", "x = 9 ** 9 ** 9", ends=_UNREAD),
    _parse("repetition folded", "has the compiler repeat a text", "x = 'x' * (1 << 40)", ends=_UNREAD),
    _parse("long number", "writes a number of a million digits", "x = " + "9" * 1_000_000, ends=_UNREAD),
    _parse("long line", "writes ten megabytes in a line", "x = '" + "x" * 10_000_000 + "'\ndef f(n): return 0"),
    _parse("long name", "has a name of a megabyte", "x" * 1_000_000 + " = 1\ndef f(n): return 0"),
    _parse("null byte", "holds a null byte", "x = 1\0\ndef f(n): return 0", ends=_UNREAD),
    _parse("encoding cookie", "declares another encoding", "# -*- coding: utf-7 -*-\n+AGY-\ndef f(n): return 0"),
    _parse("unknown encoding", "declares an encoding that there is not", "# coding: nonsense\ndef f(n): return 0"),
    _parse("byte order mark", "begins with a byte order mark", "\ufeffdef f(n): return 0"),
    _parse("surrogates", "holds halves of surrogate pairs", "x = '\ud800'\ndef f(n): return 0"),
    _parse("returned surrogates", "returns halves of surrogate pairs", "def f(n): return '\\ud800\\udfff'"),
    _parse("form feed", "separates lines by form feeds and line separators", "x = 1\x0c\ny = '\u2028'\ndef f(n): return 0"),
    _parse("right to left", "turns the order of characters around", "# \u202e\u2066\ndef f(n): return 0"),
    _parse("many statements", "has a million statements", "x = 1;" * 1_000_000, ends=(*_UNREAD, Status.OK)),
    _parse("eval within eval", "evaluates its own text, again and again", "s = 'eval(s)'\neval(s)", ends=(Status.RUNTIME_ERROR, Status.SIGNAL, Status.MEMORY_LIMIT)),
    _parse("not UTF-8", "prints bytes that are no text", "import os\nos.write(1, bytes(range(256)))", mode="stdio"),
    _parse("control characters", "prints what moves the cursor and clears the screen", "print('\\x1b[2J\\x1b]0;BREACH'[:0] + '\\x1b[2J\\x00\\x07\\r')", mode="stdio"),
    _parse("one long line", "prints a line of half a megabyte", "print('x' * 500_000)", mode="stdio"),
    _parse("code object", "runs byte code of its own", """
def g(): return 0
try: g.__code__ = g.__code__.replace(co_code=bytes([83, 0]) * 4, co_stacksize=0)
except ValueError: pass
def f(n): return g()
"""),
)  # fmt: skip
