r"""Whether two answers in LaTeX mean the same: Math-Verify, with its known slips decided otherwise.

Math-Verify (Apache-2.0) parses and compares. Departures, each safe to decide:

1. What it takes for equal is evaluated again, at 30 digits and relative to its size, so that `2^{-99}` is not
   `2^{-98}`, `1/2004!` not `1/2006!`, and two tiny physical constants are not both 0. Where decimals are
   involved, five digits must agree beside its own rule of six decimals.
2. `\{1,2\}` is a set, which an interval or a point (1,2) is not. A bare `1,2` may be either; `2,1` is only the set.
3. `\sqrt(2)` is read as `\sqrt{2}`, and an answer that begins with `6.6e-34` as a power of ten.
4. What it takes for different, such as `\sqrt{1/n}` and `1/\sqrt n`, counts as equal where both expressions
   agree at all sample points at which either is real. `0.333` stays different from 1/3: it is.
5. A reply that leaves a sum, a product, an integral or a limit to be worked out is not an answer, and
   neither is a number of more than 20,000 digits, such as `9^{9^9}`.

Runs in the worker processes of `gdpo_envs.math.pool`, which import sympy; nothing is evaluated as Python.
"""

from __future__ import annotations

import logging
import math
import re
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended.logic import And
from math_verify import LatexExtractionConfig, parse, verify
from math_verify.grader import get_pct_val
from sympy import Basic, Expr, FiniteSet, Float, Interval, MatrixBase, Rational, Symbol, Tuple

from gdpo_envs.math.latex import enclosing, plain

_PRECISION = 30
"""Digits of a value at a sample point."""
_EXACT, _DECIMAL = Rational(1, 10**20), Rational(1, 10**5)
"""Relative differences up to which values are equal: exact ones, and those with decimals."""
_POINTS = tuple(Rational(p, q) for p, q in ((7, 5), (11, 3), (1, 7), (-13, 6), (23, 11), (-3, 8), (29, 2), (-41, 9)))
"""Where expressions are compared; of no special form, on both sides of 0 and 1."""
_ENOUGH = 4
"""Sample points at which two expressions must both be real to count as equal."""
_MAX_DIGITS = 20_000
_MAX_TERMS = 500
"""Of the expansion of a power, such as (x + 1)^100 with its 101."""
_GROWING = (sympy.factorial, sympy.factorial2, sympy.subfactorial, sympy.gamma, sympy.binomial)
_UNFINISHED = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)
_SMOOTH = (sympy.exp, sympy.log, sympy.functions.elementary.trigonometric.TrigonometricFunction)
"""Functions that expressions may hold to be compared by sample points; steps would slip between."""

_CONFIG = [LatexExtractionConfig(boxed_match_priority=0)]
_ROOT = re.compile(r"\\sqrt\s*\(([^()]*)\)")
_SCIENTIFIC = re.compile(r"^\s*([-+]?[0-9]+(?:\.[0-9]+)?)[eE]([-+]?[0-9]{1,3})(?![0-9A-Za-z.])")

logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def same(truth: str, answer: str) -> bool:
    """Whether an answer is right.

    Args:
        truth: The right answer, in LaTeX, without the box.
        answer: The answer to be judged.

    Returns:
        Whether both mean the same. An answer that cannot be read is wrong.
    """
    gold, given = read(truth), read(answer)
    if gold is None or given is None or not (_finished(gold) and _finished(given)):
        return False
    if verify(gold, given, timeout_seconds=None):
        return not _set_against_bracket(truth, answer) and _consistent(gold, given)
    return _agree_where_real(gold, given)


@lru_cache(maxsize=1000)  # the rollouts of a group share the right answer, and often the wrong one
def read(answer: str) -> Basic | MatrixBase | None:
    """An answer as an unevaluated expression, or None where it cannot be read."""
    for text in dict.fromkeys((answer, plain(answer))):  # `a + b + c` is only read without its spaces
        repaired = _SCIENTIFIC.sub(r"\1\\times 10^{\2}", _ROOT.sub(r"\\sqrt{\1}", text))
        found = parse(f"\\boxed{{{repaired}}}", _CONFIG, fallback_mode="no_fallback", parsing_timeout=None)
        if found:
            return found[0]
    return None


def _finished(expression: Basic | MatrixBase) -> bool:
    """Whether nothing is left to be worked out that could be large."""
    parts = expression.flat() if isinstance(expression, MatrixBase) else [expression]
    return all(not part.has(*_UNFINISHED) and _digits_of(part) <= _MAX_DIGITS for part in parts)


def _digits_of(expression: Basic) -> float:
    """Upper bound of the digits that evaluating an expression needs, roughly; infinite for long expansions."""
    if isinstance(expression, Rational):
        return math.log10(abs(expression.p) + 1) + math.log10(expression.q)
    inner = [_digits_of(part) for part in expression.args]
    if not inner:
        return 0.3  # a symbol or a constant: of the size of 2
    if isinstance(expression, sympy.Pow):
        base, exponent = expression.args
        times = _magnitude(exponent, inner[1])
        if base.is_Add and base.free_symbols and _terms(len(base.args), times) > _MAX_TERMS:
            return math.inf
        return max(inner[1], inner[0] * times)
    if isinstance(expression, _GROWING):
        return max(size * _magnitude(part, size) for part, size in zip(expression.args, inner, strict=True))
    return sum(inner) if isinstance(expression, sympy.Add | sympy.Mul) else max(inner)


def _terms(summands: int, power: float) -> float:
    """How many terms the power of a sum has when it is multiplied out."""
    return math.comb(summands + int(power) - 1, summands - 1) if power <= _MAX_TERMS else math.inf


def _magnitude(expression: Basic, digits: float) -> float:
    """Upper bound of an expression's absolute value, given how many digits it has."""
    return abs(float(expression)) if isinstance(expression, Rational) and digits < 300 else 10 ** min(digits, 300)


def _set_against_bracket(truth: str, answer: str) -> bool:
    r"""Whether one is written as a set `\{…\}` and the other as a point or interval."""
    return {enclosing(truth), enclosing(answer)} == {"{", "("}


def _consistent(gold: Any, given: Any) -> bool:
    """Whether what was taken for equal has equal values, as far as that can be said."""
    gold_parts, given_parts = _parts(gold), _parts(given)
    if gold_parts and given_parts and len(gold_parts) == len(given_parts):
        pairs = zip(gold_parts, given_parts, strict=True)
        if isinstance(gold, FiniteSet) and isinstance(given, FiniteSet):
            return all(any(_consistent(a, b) for b in given_parts) for a in gold_parts)
        return all(_consistent(a, b) for a, b in pairs)
    gold, given = _right_side(gold), _right_side(given)
    # A word may be one symbol or the product of its letters.
    if (
        not isinstance(gold, Expr)
        or not isinstance(given, Expr)
        or isinstance(gold, Symbol)
        or isinstance(given, Symbol)
    ):
        return True
    # 50 is right where 50% is wanted, and the other way round.
    readings = [(a, b) for a in {gold, get_pct_val(gold, gold)} for b in {given, get_pct_val(given, given)}]
    return any(_never_differ(a, b) for a, b in readings)


def _parts(expression: Any) -> tuple[Any, ...]:
    if isinstance(expression, Interval):
        return (expression.start, expression.end)
    if isinstance(expression, MatrixBase):
        return tuple(expression.flat())
    if isinstance(expression, FiniteSet):
        return tuple(getattr(expression, "_unsorted_args", expression.args))  # the parser's own class has them
    return tuple(expression.args) if isinstance(expression, Tuple) else ()


def _right_side(expression: Any) -> Any:
    """5 of `x = 5`."""
    if isinstance(expression, And) and expression.args:
        expression = expression._unsorted_args[-1]
    return expression.rhs if isinstance(expression, sympy.Eq) else expression


def _agree_where_real(gold: Any, given: Any) -> bool:
    """Whether two formulas in the same variables are equal wherever one of them is real."""
    if not isinstance(gold, Expr) or not isinstance(given, Expr) or gold.free_symbols != given.free_symbols:
        return False
    if not gold.free_symbols or gold.has(Float) or given.has(Float) or not (_smooth(gold) and _smooth(given)):
        return False
    values = [(_value(gold, point), _value(given, point)) for point in _samples(gold.free_symbols)]
    real = [(a, b) for a, b in values if any(v is not None and v.is_real for v in (a, b))]
    return len(real) >= _ENOUGH and all(a is not None and b is not None and _close(a, b, _EXACT) for a, b in real)


def _smooth(expression: Expr) -> bool:
    return all(isinstance(function, _SMOOTH) for function in expression.atoms(sympy.Function))


def _never_differ(gold: Expr, given: Expr) -> bool:
    """Whether two expressions are equal at all sample points at which both have a value."""
    tolerance = _DECIMAL if gold.has(Float) or given.has(Float) else _EXACT
    values = ((_value(gold, at), _value(given, at)) for at in _samples(gold.free_symbols | given.free_symbols))
    return all(a is None or b is None or _close(a, b, tolerance) for a, b in values)


def _samples(symbols: set[Basic]) -> list[dict[Basic, Rational]]:
    """Values of the symbols at each sample point; without symbols one point is enough."""
    ordered = sorted(symbols, key=str)
    points = range(len(_POINTS) if ordered else 1)
    return [{name: _POINTS[(i + 3 * k) % len(_POINTS)] for k, name in enumerate(ordered)} for i in points]


def _value(expression: Expr, at: dict[Basic, Rational]) -> Expr | None:
    """The value at a point as a complex number, or None where there is none."""
    try:
        value = expression.evalf(_PRECISION, subs=at)
    except Exception:  # sympy's own, of many kinds, for expressions that have no value
        return None
    if isinstance(value, Float) and value._prec == 1:  # all digits have cancelled
        return sympy.S.Zero
    return value if value.is_number and value.is_finite else None


def _close(a: Expr, b: Expr, tolerance: Rational) -> bool:
    return bool(abs(a - b) <= tolerance * max(abs(a), abs(b)))
