r"""Whether two answers in LaTeX mean the same: the mathematics decides, not how they are written.

Math-Verify (Apache-2.0) parses, and compares what is neither a relation nor a set of reals. Where it is known to slip,
its verdict is not taken:

1. What it takes for equal is evaluated again, at 30 digits and relative to its size, so that `2^{-99}` is not
   `2^{-98}`, `1/2004!` not `1/2006!`, and two tiny physical constants are not both 0. Where decimals are
   involved, five digits must agree beside its own rule of six decimals.
2. `\{1,2\}` is a set, which an interval or a point (1,2) is not. A bare `1,2` may be either; `2,1` is only the set.
3. What it takes for different, such as `\sqrt{1/n}` and `1/\sqrt n`, counts as equal where both expressions
   agree at all sample points at which either is real. `0.333` stays different from 1/3: it is.
4. A reply that leaves a sum, a product, an integral or a limit to be worked out is not an answer, and
   neither is a number of more than 20,000 digits, such as `9^{9^9}`.
5. Equations, inequalities and sets of reals are compared by `gdpo_envs.math.relations`: `ab = 12` is `12 = ab`
   and not 12, and `[1, 4)` is `1 \le x < 4`.
6. Units are read by `gdpo_envs.math.units`: one may be left out, two different ones contradict each other, and the
   letter behind `7 + 2c` is a variable.
7. Notation that its parser does not know is rewritten by `gdpo_envs.math.notation`; numbers with other bases differ;
   `i` is the imaginary unit.

Runs in the worker processes of `gdpo_envs.math.pool`, which import sympy; nothing is evaluated as Python.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig, normalize_latex
from latex2sympy2_extended.latex2sympy2 import convert_to_pct
from math_verify import verify
from math_verify.grader import get_pct_val
from math_verify.parser import parse_latex_cached
from sympy import Basic, Eq, Expr, FiniteSet, Float, Integer, Interval, MatrixBase, Ne, Rational, Symbol, Tuple

from gdpo_envs.math import relations
from gdpo_envs.math.latex import MAX_CHARACTERS, boxes, enclosing, plain
from gdpo_envs.math.notation import Numeral, rewritten, without_bases
from gdpo_envs.math.units import Unit, contradict, split_unit
from gdpo_envs.math.values import EXACT, close, equal, samples, value

_ENOUGH = 4
"""Sample points at which two expressions must both be real to count as equal."""
_MAX_DIGITS = 20_000
_LONGEST = 2 * MAX_CHARACTERS
"""Characters of an answer after it is rewritten."""
_MAX_TERMS = 500
"""Terms of the expansion of a power, such as (x + 1)^100 with its 101."""
_GROWING = (sympy.factorial, sympy.factorial2, sympy.subfactorial, sympy.gamma, sympy.binomial)
_UNFINISHED = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)
_SMOOTH = (sympy.exp, sympy.log, sympy.functions.elementary.trigonometric.TrigonometricFunction)
"""Functions that expressions may hold to be compared by sample points; steps would slip between."""

_CONFIG = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
_NUMBER = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_PERCENT = re.compile(r"(.*[^\s\\])\s*\\?%", re.DOTALL)
_TEXT = r"\\(?:text|mbox|mathrm|textrm)\s*\{\s*%s\s*\}"
_OR = re.compile(rf"{_TEXT % 'or'}|\\(?:lor|vee)(?![a-zA-Z])|(?<![a-zA-Z\\])or(?![a-zA-Z])")
_AND = re.compile(rf"{_TEXT % '(?:and|,)'}|\\(?:land|wedge)(?![a-zA-Z])|(?<![a-zA-Z\\])and(?![a-zA-Z])")
_ORDER = re.compile(r"[<>]|\\(?:l|g|n)(?:e|eq|t)(?:slant)?(?![a-zA-Z])|\\neq?(?![a-zA-Z])")
_SET_BUILDER = re.compile(r"^\\\{\s*[a-zA-Z]\s*(?:\\in\s*\\mathbb\s*\{?R\}?\s*)?(?:\\mid|\\vert|:|\||\\colon)(.*)\\\}$")
_GEOMETRY = re.compile(
    r"^\s*(?:m\s*)?(?:\\(?:angle|triangle)\s*)?(?:\\(?:overline|overrightarrow|mathrm|text)\s*\{)?"
    r"(?:\||\[|\\[lr]?vert\s*)?\s*[A-Z]'?(?:\s*[A-Z]'?){1,4}\s*(?:\||\]|\\[lr]?vert)?\}?\s*="
)
"""The name of a segment, an angle or a polygon, such as `AB=`, `\\angle ABC=` and `[ABC]=`."""

logging.getLogger("math_verify").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Reading:
    """An answer, read."""

    text: str
    """Its text without unit and bases."""
    value: Any
    """An unevaluated expression, or None where it cannot be read."""
    unit: Unit | None = None
    numerals: Counter[Numeral] = field(default_factory=Counter)
    """Its numbers that have a base."""


def same(truth: str, answer: str) -> bool:
    """Whether an answer is right.

    Args:
        truth: The right answer, in LaTeX, without the box.
        answer: The answer to be scored; or several, each in its box, of which the last one counts, or, where the
            truth has several parts, the last ones together.

    Returns:
        Whether both mean the same. An answer that cannot be read is wrong.
    """
    given = boxes(answer)
    if len(given) < 2:
        return _same(truth, answer)
    if _same(truth, given[-1]):
        return True
    count = len(_members(read(truth).value))
    return 1 < count <= len(given) and _same(truth, ", ".join(given[-count:]))


def _same(truth: str, answer: str) -> bool:
    if plain(truth) == plain(answer):
        return True
    gold = read(truth)
    given = read(answer, (gold.text, gold.unit))
    if gold.value is None or given.value is None:
        return False
    if contradict(gold.unit, given.unit) or (gold.numerals and given.numerals and gold.numerals != given.numerals):
        return False
    if _set_against_bracket(truth, answer) and not _is_relation(gold.value) and not _is_relation(given.value):
        return False
    names = _GEOMETRY.match(gold.text), _GEOMETRY.match(given.text)
    return _match(_value_of(gold, bool(names[0]), given), _value_of(given, bool(names[1]), gold))


@lru_cache(maxsize=1000)  # the rollouts of a group share the right answer, and often the wrong one
def read(answer: str, truth: tuple[str, Unit | None] | None = None) -> Reading:
    """An answer as an unevaluated expression, with its unit.

    Args:
        answer: In LaTeX.
        truth: Text and unit of the right answer, see `gdpo_envs.math.units.split_unit`.
    """
    text = rewritten(answer)
    if len(text) > _LONGEST:
        return Reading(text, None)
    text, numerals = without_bases(text)
    text, unit = split_unit(text, truth)
    return Reading(text, _parsed(text), unit, numerals)


def _parsed(text: str) -> Any:
    if builder := _SET_BUILDER.match(plain(text)):
        text = builder[1]
    if _ORDER.search(text):
        for connective, union in ((_OR, True), (_AND, False)):
            parts = connective.split(text)
            if len(parts) > 1 and (both := relations.joined([_parsed(p) for p in parts], union)):
                return Eq(*both, evaluate=False)
    found = _parse(text)
    if found is None and (bare := plain(text)) != text:  # `a + b + c` is only read without its spaces
        found = _parse(bare)
    if found is None or not _finished(found):
        return None
    if isinstance(found, FiniteSet) and found.args:
        found = _joined_list(found)
    return found


def _parse(text: str) -> Any:
    if _NUMBER.fullmatch(text):  # as most answers are; the parser takes milliseconds
        return Float(text) if "." in text else Integer(int(text))
    try:
        return parse_latex_cached(normalize_latex(text, _CONFIG))
    except Exception:  # the parser's own, of many kinds: it cannot be read
        percent = _PERCENT.fullmatch(text)  # it fails on `\frac{1}{2}\%`
        value = _parse(percent[1]) if percent else None
        return convert_to_pct(value) if isinstance(value, Expr) else None


def _joined_list(listed: FiniteSet) -> Any:
    """One statement for a list of them: `x=1, x=2` is x = {1, 2}, and `x>1, x<2` the interval between."""
    parts = _members(listed)
    if all(isinstance(part, Eq) and part.lhs == parts[0].lhs and not part.rhs.free_symbols for part in parts):
        return Eq(parts[0].lhs, FiniteSet(*(part.rhs for part in parts)), evaluate=False)
    if isinstance(parts[0], Eq) and not any(map(_is_relation, parts[1:])):  # x = 1, 2
        return Eq(parts[0].lhs, FiniteSet(parts[0].rhs, *parts[1:]), evaluate=False)
    if isinstance(parts[0], Ne) and not any(map(_is_relation, parts[1:])):  # x ≠ 1, 2
        parts = (parts[0], *(Ne(parts[0].lhs, part, evaluate=False) for part in parts[1:]))
    if all(map(_is_relation, parts)):
        both = relations.joined(parts, union=False)
        if both is not None and both[1] is sympy.S.EmptySet:  # a comma for "or"
            both = relations.joined(parts, union=True)
        return listed if both is None else Eq(*both, evaluate=False)
    return listed


def _with_imaginary_unit(expression: Any) -> Any:
    if not isinstance(expression, Expr | Tuple | MatrixBase | FiniteSet):
        return expression
    letters = [symbol for symbol in expression.free_symbols if symbol.name == "i"]
    return expression.xreplace(dict.fromkeys(letters, sympy.I)) if letters else expression


def _is_relation(expression: Any) -> bool:
    return bool(relations.relations_of(expression))


def _value_of(reading: Reading, geometry: bool, other: Reading) -> Any:
    """The value that an equation names, where the other answer is no equation; otherwise what was read."""
    value = reading.value
    if not relations.is_equation(value) or _is_relation(other.value):
        return value
    return relations.named_value(value, geometry)


def _match(gold: Any, given: Any) -> bool:
    """Whether two expressions mean the same."""
    if gold is None or given is None:
        return False
    if _is_relation(gold) or _is_relation(given) or not (_is_listable(gold) and _is_listable(given)):
        regions = relations.region(gold), relations.region(given)
        if regions[0] is not None and regions[1] is not None:
            return relations.same_region(regions[0], regions[1])
    if _is_relation(gold) or _is_relation(given):
        return _match_relations(gold, given)
    if any(isinstance(side, FiniteSet | Tuple) and any(map(_is_relation, side.args)) for side in (gold, given)):
        return _match_members(gold, given)
    gold, given = _with_imaginary_unit(gold), _with_imaginary_unit(given)
    if _consistent(gold, given) and verify(gold, given, timeout_seconds=None):
        return True
    return _agree_where_real(gold, given)


def _match_relations(gold: Any, given: Any) -> bool:
    if relations.is_equation(gold) and relations.is_equation(given):
        if gold.free_symbols or given.free_symbols:
            return relations.same_equation(gold, given)
        return _match(relations.named_value(gold), relations.named_value(given))  # 0.56 = 56%
    if _is_relation(gold) and _is_relation(given):
        return relations.same_inequalities(gold, given)
    if relations.is_equation(gold):
        return _match(relations.named_value(gold), given)
    return relations.is_equation(given) and _match(gold, relations.named_value(given))


def _match_members(gold: Any, given: Any) -> bool:
    """Whether two lists hold the same, in any order, or in the same order where one is a point."""
    ours, theirs = _members(gold), list(_members(given))
    if len(ours) != len(theirs):
        return False
    if isinstance(gold, Interval | Tuple) or isinstance(given, Interval | Tuple):
        return all(map(_match, ours, theirs))
    for part in ours:
        match = next((i for i, candidate in enumerate(theirs) if _match(part, candidate)), None)
        if match is None:
            return False
        del theirs[match]
    return True


def _is_listable(expression: Any) -> bool:
    """Whether it may be a list, a point or an interval: which one, Math-Verify decides."""
    return isinstance(expression, Expr | FiniteSet | Interval | Tuple | MatrixBase)


def _members(expression: Any) -> tuple[Any, ...]:
    """The members of a list, a point, or what may be one."""
    if relations.is_equation(expression):
        return _members(relations.named_value(expression))
    return _parts(expression) if not isinstance(expression, MatrixBase) else ()


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
    return any(equal(a, b) for a, b in readings)


def _parts(expression: Any) -> tuple[Any, ...]:
    if isinstance(expression, Interval):
        return (expression.start, expression.end)
    if isinstance(expression, MatrixBase):
        return tuple(expression.flat())
    if isinstance(expression, FiniteSet):
        return tuple(getattr(expression, "_unsorted_args", expression.args))  # the parser's own class has them
    return tuple(expression.args) if isinstance(expression, Tuple) else ()


def _agree_where_real(gold: Any, given: Any) -> bool:
    """Whether two formulas in the same variables are equal wherever one of them is real."""
    if not isinstance(gold, Expr) or not isinstance(given, Expr) or gold.free_symbols != given.free_symbols:
        return False
    if not gold.free_symbols or gold.has(Float) or given.has(Float) or not (_smooth(gold) and _smooth(given)):
        return False
    values = [(value(gold, point), value(given, point)) for point in samples(gold.free_symbols)]
    real = [(a, b) for a, b in values if any(v is not None and v.is_real for v in (a, b))]
    return len(real) >= _ENOUGH and all(a is not None and b is not None and close(a, b, EXACT) for a, b in real)


def _smooth(expression: Expr) -> bool:
    return all(isinstance(function, _SMOOTH) for function in expression.atoms(sympy.Function))
