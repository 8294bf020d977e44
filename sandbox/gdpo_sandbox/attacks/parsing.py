"""Sources that hurt whoever reads them, and texts that hurt whoever shows them."""

from functools import partial

from gdpo_sandbox.attacks.attack import Attack
from gdpo_sandbox.program import Status

_parse = partial(Attack, "parsing")
_OK = (Status.OK,)
_REFUSED = (Status.COMPILE_ERROR, Status.MEMORY_LIMIT, Status.SIGNAL, Status.TIMEOUT)
_F = "\ndef f(n): return 0\n"

ATTACKS = (
    _parse("parentheses", "opens a hundred thousand parentheses", "(" * 100_000, ends=_REFUSED),
    _parse("lists", "has lists within lists", "[" * 50_000 + "]" * 50_000, ends=_REFUSED),
    _parse("signs", "has a million minus signs", "x = " + "-" * 1_000_000 + "1", ends=_REFUSED),
    _parse("calls", "has calls within calls", "x = " + "f(" * 50_000 + ")" * 50_000, ends=_REFUSED),
    _parse("attributes", "takes attributes of attributes", "x = a" + ".a" * 100_000, ends=(*_REFUSED, Status.RUNTIME_ERROR)),
    _parse("sum", "adds a hundred thousand terms", "x = 1" + "+1" * 100_000 + _F),
    _parse("comparisons", "is a chain of comparisons", "x = 1" + "<1" * 100_000 + _F),
    _parse("branches", "has thousands of branches", "x = 0\nif x: pass\n" + "elif x: pass\n" * 20_000 + _F),
    _parse("indentation", "is indented two hundred times", "".join(" " * i + "if 1:\n" for i in range(200)), ends=_REFUSED),
    _parse("functions", "has functions within functions", "".join(" " * i + "def g():\n" for i in range(90)) + " " * 90 + "pass" + _F),
    _parse("lambdas", "has lambdas within lambdas", "x = " + "lambda: " * 100_000 + "0", ends=_REFUSED),
    _parse("f-strings", "has f-strings within f-strings", "x = " + "f'{" * 200 + "0" + "}'" * 200, ends=_REFUSED),
    _parse("long number", "has a number of a million digits", "x = " + "9" * 1_000_000, ends=_REFUSED),
    _parse("long hexadecimal", "has a hexadecimal number of a million digits", "x = 0x" + "f" * 1_000_000 + _F),
    _parse("folded power", "has the compiler work out 9**9**9", "x = 9 ** 9 ** 9", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT)),
    _parse("folded text", "has the compiler repeat a text", "x = 'x' * (1 << 40)", ends=(Status.MEMORY_LIMIT, Status.COMPILE_ERROR)),
    _parse("folded tuples", "has the compiler repeat tuples", "x = ((1, 2) * 256) * 256 * 256 * 256", ends=(Status.MEMORY_LIMIT, Status.TIMEOUT)),
    _parse("long line", "is a line of ten megabytes", "x = '" + "x" * 10_000_000 + "'" + _F),
    _parse("long name", "has a name of a megabyte", "x" * 1_000_000 + " = 1" + _F),
    _parse("statements", "has a million statements", "x = 1;" * 1_000_000 + _F),
    _parse("names", "has fifty thousand names", "".join(f"x{i}={i}\n" for i in range(50_000)) + _F),
    _parse("warnings", "is full of what the compiler warns of", "x = '\\d'\n" * 20_000 + _F),
    _parse("eval within eval", "evaluates its own text, again and again", "x = 'eval(x)'\ndef f(n): return eval(x)"),
    _parse("doubling source", "runs sources that double", "x = 'pass\\n'\nwhile True:\n    exec(x)\n    x += x", ends=(Status.TIMEOUT, Status.MEMORY_LIMIT, Status.RUNTIME_ERROR)),
    _parse("deep syntax tree", "builds a syntax tree that crashes the compiler", """
import ast
x = ast.Constant(0)
for _ in range(20_000): x = ast.UnaryOp(ast.Not(), x, lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
def f(n): return eval(compile(ast.Expression(x), "", "eval"))
"""),
    _parse("byte code", "runs byte code that no compiler would make", """
def f(n): return 0
f.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 8 + [83, 0]), co_stacksize=0)
"""),
    _parse("marshal", "loads code from bytes that are none", "import marshal\ndef f(n): return marshal.loads(b'\\xe3' + b'\\xff' * 99)", ends=(Status.RUNTIME_ERROR, Status.SIGNAL)),
    _parse("NUL", "has a NUL in its source", "x = 0\0\n" + _F, ends=(Status.COMPILE_ERROR,)),
    _parse("half characters", "has halves of surrogate pairs in its source", "x = '\ud800'" + _F),
    _parse("half a name", "has a name that is half a character", "\udfff = 0", ends=(Status.COMPILE_ERROR,)),
    _parse("byte order mark", "begins with a byte order mark", "\ufeff" + _F),
    _parse("encoding", "declares an encoding of its own", "# coding: utf-7\n+AGQ-ef f(n): return 0", ends=(Status.COMPILE_ERROR,)),
    _parse("unknown encoding", "declares an encoding that there is not", "# coding: nonsense" + _F),
    _parse("right to left", "hides code by turning the order of characters around", "x = 'a\u202e\u2066' #\u2069" + _F),
    _parse("line ends", "ends its lines in all ways", "x = 0\r\ny = 0\rz = 0\x0c\n\u2028" + _F),
    _parse("not UTF-8", "prints bytes that are no text", "import os\nos.write(1, bytes(range(256)) * 10)", "stdio", ends=_OK),
    _parse("errors not UTF-8", "writes bytes that are no text to stderr", "import os\nos.write(2, bytes(range(256)) * 10)", "stdio", ends=_OK),
    _parse("half characters printed", "prints halves of surrogate pairs", "print('\\ud800\\udfff')", "stdio"),
    _parse("half characters returned", "returns halves of surrogate pairs", "def f(n): return ['\\ud800', {'\\udfff': '\\ud800\\udc00'}]", ends=_OK),
    _parse("half characters raised", "raises halves of surrogate pairs", "def f(n): raise ValueError('\\ud800\\udfff\\0')", ends=(Status.RUNTIME_ERROR,)),
    _parse("terminal", "prints what terminals obey", "print('\\x1b]0;x\\x07\\x1b[2J\\x1b[31m\\x9b\\r\\x08\\0')", "stdio", ends=_OK),
    _parse("odd numbers", "returns numbers that are hard to compare", "def f(n): return [float('nan'), float('inf'), -0.0, complex('nan'), 1 << 9999]", ends=_OK),
    _parse("blanks", "prints blanks of all kinds", "print('\\u2003\\xa0\\x1c\\x1d\\x85\\u2028\\u3000' * 100)", "stdio", ends=_OK),
    _parse("other digits", "prints digits of another script", "print(input().translate({48 + i: 0x660 + i for i in range(10)}))", "stdio", ends=_OK),
    _parse("streams replaced", "replaces its streams by others", """
import io, sys
sys.stdout = sys.__stdout__ = io.StringIO()
sys.stdin = sys.stderr = None
print(0)
""", "stdio"),
)  # fmt: skip
