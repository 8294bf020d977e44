r"""Equations, inequalities and sets of reals: whether two of them say the same.

Two equations are the same where one is the other moved about or multiplied: their zero forms have a constant ratio, or
the same factors. Inequalities in one variable are sets of reals, as intervals are. Nothing here reads LaTeX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sympy
from latex2sympy2_extended.logic import And
from sympy import Basic, Eq, Expr, Ne, Rational, Set, Symbol
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational
from sympy.solvers.inequalities import solve_univariate_inequality

from gdpo_envs.math.values import equal, samples, tolerance, value

_ENOUGH = 4
"""Sample points at which the zero forms of two equations must have values."""
_MAX_DEGREE = 6
"""Highest degree of a polynomial inequality that is solved."""
_MAX_TERMS = 60
"""Powers of a polynomial that is factored, multiplied out."""
_ORDERED = (sympy.StrictLessThan, sympy.LessThan, sympy.StrictGreaterThan, sympy.GreaterThan)

Region = tuple[Symbol | None, Set]
"""The variable that lies in a set, where one is named, and the set."""


def relations_of(expression: Any) -> tuple[Relational, ...]:
    """The relations of a chain such as 1 < x < 4, or the only one; empty for other expressions."""
    if isinstance(expression, And):
        return tuple(expression._unsorted_args)
    return (expression,) if isinstance(expression, Relational) else ()


def is_equation(expression: Any) -> bool:
    """Whether it is an equation, or a chain of them."""
    parts = relations_of(expression)
    return bool(parts) and all(isinstance(part, Eq) for part in parts)


def named_value(equation: Any, name_is_product: bool = False) -> Any | None:
    """5 of x = 5, of 5 = x, of f(2) = 5 and of x = 2 + 3 = 5; None for an equation that does not name a value.

    Args:
        equation: An equation, or a chain of them.
        name_is_product: Whether the left side was read as a product, but is the name of one thing, such as AB.
    """
    parts = relations_of(equation)
    sides = [parts[0].lhs, *(part.rhs for part in parts)]
    first, last = sides[0], sides[-1]
    if not isinstance(first, Symbol | AppliedUndef) and not name_is_product:
        if len(parts) == 1 and isinstance(last, Symbol) and _is_number(first):
            first, last = last, first
        elif not _is_number(first):
            return None
    numbers = [side for side in sides if side is not last and _is_number(side)]
    return last if all(_is_number(last) and equal(number, last) for number in numbers) else None


def _is_number(side: Any) -> bool:
    return isinstance(side, Expr) and not side.free_symbols and not side.has(AppliedUndef)


def same_equation(one: Any, other: Any) -> bool:
    """Whether two equations, or chains of as many, have the same solutions, whichever side things stand on."""
    ours, theirs = relations_of(one), relations_of(other)
    if len(ours) != len(theirs):
        ends = [Eq(parts[0].lhs, parts[-1].rhs, evaluate=False) for parts in (ours, theirs)]
        return _same_zeros(*map(_zero_form, ends))
    return all(_same_zeros(_zero_form(a), _zero_form(b)) for a, b in zip(ours, theirs, strict=True))


def _zero_form(relation: Relational) -> Expr | None:
    left, right = relation.lhs, relation.rhs
    if isinstance(left, sympy.FiniteSet) or isinstance(right, sympy.FiniteSet):
        return _of_one_of(*((right, left) if isinstance(left, sympy.FiniteSet) else (left, right)))
    if not isinstance(left, Expr) or not isinstance(right, Expr):
        return None
    return _without_functions(left - right)


def _of_one_of(left: Any, values: Any) -> Expr | None:
    """(x - 1)(x + 1) for x = ±1."""
    if not isinstance(left, Expr) or not all(isinstance(part, Expr) for part in values.args):
        return None
    return sympy.Mul(*(left - part for part in values.args))


def _without_functions(expression: Basic) -> Any:
    """An expression in which f(x) is a variable of its own."""
    return expression.xreplace({f: Symbol(str(f), real=True) for f in expression.atoms(AppliedUndef)})


def _same_zeros(one: Expr | None, other: Expr | None) -> bool:
    if one is None or other is None:
        return False
    return _ratio(one, other) is not None or _same_factors(one, other)


def _ratio(one: Expr, other: Expr) -> Expr | None:
    """The number by which one expression is the other's multiple, or None where it is none."""
    if one.free_symbols != other.free_symbols:
        return None
    pairs = [(value(one, at), value(other, at)) for at in samples(one.free_symbols)]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    for chosen in (known, [(a, b) for a, b in known if a.is_real and b.is_real]):
        ratio = _constant(chosen, tolerance(one, other), _ENOUGH if one.free_symbols else 1)
        if ratio is not None:
            return ratio
    return None


def _constant(pairs: Sequence[tuple[Expr, Expr]], within: Rational, enough: int) -> Expr | None:
    if len(pairs) < enough:
        return None
    a, b = max(pairs, key=lambda pair: abs(pair[1]))
    if a == 0 or b == 0:
        return None
    # a : b = c : d, without a division by what may be 0.
    scale = max(abs(x) for x, _ in pairs), max(abs(y) for _, y in pairs)
    fits = all(abs(c * b - d * a) <= within * scale[0] * scale[1] for c, d in pairs)
    return a / b if fits else None


def _same_factors(one: Expr, other: Expr) -> bool:
    """Whether the numerators are polynomials with the same factors, such as (x - y)^2 and y - x."""
    parts = [_square_free(expression) for expression in (one, other)]
    return parts[0] is not None and parts[0] == parts[1]


def _square_free(expression: Expr) -> Any:
    if expression.has(sympy.Float) or not expression.free_symbols:
        return None
    if any(abs(power.exp) > _MAX_DEGREE for power in expression.atoms(sympy.Pow) if power.exp.is_Integer):
        return None
    numerator = sympy.fraction(sympy.together(expression))[0]
    symbols = sorted(numerator.free_symbols, key=str)
    if not numerator.is_polynomial(*symbols) or len(symbols) > 4 or not symbols:
        return None
    polynomial = sympy.Poly(numerator, *symbols)
    if polynomial.is_zero or len(polynomial.terms()) > _MAX_TERMS:
        return None
    return (polynomial.sqf_part() if polynomial.domain.is_ZZ or polynomial.domain.is_QQ else polynomial).monic()


def same_inequalities(one: Any, other: Any) -> bool:
    """Whether two inequalities, or chains of them, are the same but for a positive factor and their order."""
    ours, theirs = list(relations_of(one)), list(relations_of(other))
    if len(ours) != len(theirs):
        return False
    for relation in ours:
        match = next((candidate for candidate in theirs if _same_inequality(relation, candidate)), None)
        if match is None:
            return False
        theirs.remove(match)
    return True


def _same_inequality(one: Relational, other: Relational) -> bool:
    if isinstance(one, Eq) or isinstance(other, Eq):
        return isinstance(one, Eq) and isinstance(other, Eq) and same_equation(one, other)
    if isinstance(one, Ne) or isinstance(other, Ne):
        return isinstance(one, Ne) and isinstance(other, Ne) and _same_zeros(_zero_form(one), _zero_form(other))
    (a, strict), (b, other_strict) = _below_zero(one), _below_zero(other)
    if strict != other_strict or a is None or b is None:
        return False
    ratio = _ratio(a, b)
    return ratio is not None and bool(ratio.is_real) and ratio > 0


def _below_zero(relation: Relational) -> tuple[Expr | None, bool]:
    """The expression that is below 0, and whether 0 itself is excluded."""
    strict = isinstance(relation, sympy.StrictLessThan | sympy.StrictGreaterThan)
    form = _zero_form(relation)
    greater = isinstance(relation, sympy.StrictGreaterThan | sympy.GreaterThan)
    return (None if form is None else -form if greater else form), strict


def region(expression: Any) -> Region | None:
    r"""The set of reals that an expression describes: an interval, a union, x \in S, or inequalities in one variable.

    Args:
        expression: As it was parsed.

    Returns:
        The variable, where it is named, and the set; None for all else.
    """
    if isinstance(expression, sympy.FiniteSet):
        return None
    if isinstance(expression, Set):
        return None, evaluated(expression)
    parts = relations_of(expression)
    if is_equation(expression):
        return _membership(parts[0]) if len(parts) == 1 else None
    relations = [_without_functions(part) for part in parts]
    variables = set().union(*(part.free_symbols for part in relations))
    if len(variables) != 1 or any(isinstance(part, Eq) for part in parts):
        return None
    variable = variables.pop()
    sets = [_solved(relation, variable) for relation in relations]
    return None if None in sets else (variable, sympy.Intersection(*sets))


def _membership(equation: Relational) -> Region | None:
    r"""X \in S, which the parser makes an equation of x and S."""
    inside = equation.rhs
    is_set = isinstance(inside, Set) and not isinstance(inside, sympy.FiniteSet)
    return (equation.lhs, evaluated(inside)) if is_set and isinstance(equation.lhs, Symbol) else None


def joined(statements: Sequence[Any], union: bool) -> Region | None:
    """The union or the intersection of what statements on the same variable describe; None where they have none.

    At least one of them is not an equation, which is a point here.
    """
    regions = [_point(statement) or region(statement) for statement in statements]
    known = [part for part in regions if part is not None]
    names = {name for name, _ in known if name is not None}
    if len(known) < len(regions) or len(names) != 1 or all(map(is_equation, statements)):
        return None
    return names.pop(), (sympy.Union if union else sympy.Intersection)(*(inside for _, inside in known))


def _point(statement: Any) -> Region | None:
    is_point = isinstance(statement, Eq) and isinstance(statement.lhs, Symbol) and _is_number(statement.rhs)
    return (statement.lhs, sympy.FiniteSet(statement.rhs)) if is_point else None


def evaluated(inside: Set) -> Set:
    """A set with its unions and differences worked out; the parser leaves them as they were written."""
    if isinstance(inside, sympy.Union | sympy.Intersection | sympy.Complement):
        kind = next(kind for kind in (sympy.Union, sympy.Intersection, sympy.Complement) if isinstance(inside, kind))
        return kind(*map(evaluated, inside.args))
    return sympy.FiniteSet(*inside.args) if isinstance(inside, sympy.FiniteSet) else inside


def _solved(relation: Relational, variable: Symbol) -> Set | None:
    """Where an inequality in a variable holds; None where it is not one that is solved here."""
    below = isinstance(relation, sympy.StrictLessThan | sympy.LessThan)
    if (relation.rhs is sympy.oo and below) or (relation.lhs is -sympy.oo and below):  # x < ∞
        return sympy.S.Reals
    form = _zero_form(relation)
    if form is None:
        return None
    if form.is_polynomial(variable) and (polynomial := sympy.Poly(form, variable)).degree() == 1:
        slope, constant = polynomial.all_coeffs()
        return _half_line(relation, slope, -constant / slope)
    return _solved_by_roots(relation, form, variable) if _is_solvable(form, variable) else None


def _solved_by_roots(relation: Relational, form: Expr, variable: Symbol) -> Set | None:
    real = Symbol("real", real=True)
    form = form.subs(variable, real)
    if isinstance(relation, Ne):
        roots = sympy.solveset(form, real, sympy.S.Reals)
        return sympy.Complement(sympy.S.Reals, roots) if isinstance(roots, sympy.FiniteSet) else None
    moved = relation.func(form, 0)
    if not isinstance(moved, Relational):
        return sympy.S.Reals if moved == sympy.true else sympy.S.EmptySet
    solved: Set = solve_univariate_inequality(moved, real, relational=False)
    return solved


def _is_solvable(form: Expr, variable: Symbol) -> bool:
    """Whether it is a small fraction of polynomials, which may hold absolute values, in this variable alone."""
    flat = form.replace(sympy.Abs, lambda inside: inside)
    if form.free_symbols != {variable} or not flat.is_rational_function(variable) or form.has(sympy.Float):
        return False
    parts = [sympy.Poly(part, variable) for part in sympy.fraction(sympy.together(flat))]
    return all(part.degree() <= _MAX_DEGREE and part.domain.is_QQ | part.domain.is_ZZ for part in parts)


def _half_line(relation: Relational, slope: Expr, end: Expr) -> Set | None:
    if isinstance(relation, Ne):
        return sympy.Complement(sympy.S.Reals, sympy.FiniteSet(end))
    if not slope.is_real or not end.is_extended_real:
        return None
    below = isinstance(relation, sympy.StrictLessThan | sympy.LessThan) == bool(slope > 0)
    is_open = isinstance(relation, sympy.StrictLessThan | sympy.StrictGreaterThan)
    infinity = sympy.oo
    return sympy.Interval(-infinity, end, True, is_open) if below else sympy.Interval(end, infinity, is_open, True)


def same_region(one: Region, other: Region) -> bool:
    """Whether two sets of reals are equal, and their variables where both are named."""
    if one[0] is not None and other[0] is not None and one[0] != other[0]:
        return False
    ours, theirs = _pieces(one[1]), _pieces(other[1])
    if ours is None or theirs is None:
        return bool(one[1] == other[1])
    return len(ours) == len(theirs) and all(
        (a.left_open, a.right_open) == (b.left_open, b.right_open) and equal(a.start, b.start) and equal(a.end, b.end)
        for a, b in zip(ours, theirs, strict=True)
    )


class _Piece(NamedTuple):
    """An interval, or a point."""

    start: Expr
    end: Expr
    left_open: bool = False
    right_open: bool = False


def _pieces(inside: Set) -> list[_Piece] | None:
    """The intervals of a set in their order, points among them; None where it has other parts."""
    if isinstance(inside, sympy.Interval):
        return [_Piece(inside.start, inside.end, bool(inside.left_open), bool(inside.right_open))]
    if inside in (sympy.S.EmptySet, sympy.S.Reals):
        return [_Piece(-sympy.oo, sympy.oo, True, True)] if inside is sympy.S.Reals else []
    if isinstance(inside, sympy.FiniteSet):
        return [_Piece(part, part) for part in inside.args]
    if not isinstance(inside, sympy.Union):
        return None
    parts = [_pieces(part) for part in inside.args]
    if any(part is None for part in parts):
        return None
    return sorted(
        (piece for part in parts for piece in part or ()), key=lambda piece: (float(piece.start), piece.left_open)
    )
