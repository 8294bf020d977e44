"""Whether two expressions have the same values: compared at sample points, with 30 digits, relative to their size."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Basic, Expr, Float, Rational

_PRECISION = 30
"""Digits of a value at a sample point."""
EXACT, DECIMAL = Rational(1, 10**20), Rational(1, 10**5)
"""Relative differences up to which values are equal: exact ones, and those with decimals."""
_POINTS = tuple(Rational(p, q) for p, q in ((7, 5), (11, 3), (1, 7), (-13, 6), (23, 11), (-3, 8), (29, 2), (-41, 9)))
"""Where expressions are compared; of no special form, on both sides of 0 and 1."""


def equal(one: Any, other: Any) -> bool:
    """Whether two expressions are equal at all sample points at which both have a value."""
    if one == other:
        return True
    if any(side in (sympy.oo, -sympy.oo) for side in (one, other)):
        return False
    within = tolerance(one, other)
    values = ((value(one, at), value(other, at)) for at in samples(one.free_symbols | other.free_symbols))
    return all(a is None or b is None or close(a, b, within) for a, b in values)


def tolerance(one: Expr, other: Expr) -> Rational:
    """The relative difference up to which the values of two expressions are equal."""
    return DECIMAL if one.has(Float) or other.has(Float) else EXACT


def samples(symbols: set[Basic]) -> list[dict[Basic, Rational]]:
    """Values of the symbols at each sample point; without symbols one point is enough."""
    ordered = sorted(symbols, key=str)
    points = range(len(_POINTS) if ordered else 1)
    return [{name: _POINTS[(i + 3 * k) % len(_POINTS)] for k, name in enumerate(ordered)} for i in points]


def value(expression: Expr, at: dict[Basic, Rational]) -> Expr | None:
    """The value at a point as a complex number, or None where there is none."""
    try:
        number = expression.evalf(_PRECISION, subs=at)
    except Exception:  # sympy's own, of many kinds, for expressions that have no value
        return None
    if isinstance(number, Float) and number._prec == 1:  # all digits have cancelled
        return sympy.S.Zero
    return number if number.is_number and number.is_finite else None


def close(a: Expr, b: Expr, within: Rational) -> bool:
    """Whether two numbers differ by at most so much, relative to the larger one."""
    return bool(abs(a - b) <= within * max(abs(a), abs(b)))
