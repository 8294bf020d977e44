"""Values of constant expressions, found without running anything.

The published tests of HumanEval and MBPP are Python source. Nothing of a data set runs outside the
sandbox, so what they compare with is computed here, by the few operations that occur in them.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from typing import Any

_LARGEST = 100_000
"""Items of a sequence, and the largest exponent; enough for all tests, too little to do harm."""
_BITS = 10_000
_SEQUENCES = (str, bytes, list, tuple)
_ORDERED = ("list", "tuple", "str")

Names = dict[str, Any]

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class NotConstantError(ValueError):
    """An expression whose value is not known without running something."""


def _range(*arguments: int) -> list[int]:
    return list(_checked(range(*arguments)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (abs, dict, frozenset, int, len, list, set, sorted, str, sum, tuple)
} | {"range": _range}


def evaluate(node: ast.expr, names: Names) -> Any:
    """The value of an expression of constants.

    Args:
        node: The expression.
        names: Variables and their values.

    Raises:
        NotConstantError: It calls, names or does something unknown, fails, or would grow too large.
    """
    try:
        return _evaluate(node, names)
    except NotConstantError:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise NotConstantError(f"{ast.unparse(node)}: {error}") from error


def _evaluate(node: ast.expr, names: Names) -> Any:  # noqa: PLR0911, PLR0912 (a case each)
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Tuple(elts=elements):
            return tuple(_evaluate(element, names) for element in elements)
        case ast.List(elts=elements):
            return [_evaluate(element, names) for element in elements]
        case ast.Set(elts=elements):
            return {_evaluate(element, names) for element in elements}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_evaluate(k, names): _evaluate(v, names) for k, v in zip(keys, values, strict=True) if k}
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_evaluate(operand, names))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _binary(op, _evaluate(left, names), _evaluate(right, names))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return _COMPARISONS[type(op)](_evaluate(left, names), _evaluate(right, names))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_evaluate(value, names) for value in values)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS and name not in names:
            values = [_evaluate(argument, names) for argument in arguments]
            if name in _ORDERED and any(isinstance(value, (set, frozenset)) for value in values):
                raise NotConstantError("the order of a set differs from process to process")
            return FUNCTIONS[name](*values)
        case ast.ListComp(elt=element, generators=[generator]):
            return [_evaluate(element, bound) for bound in _bindings(generator, names)]
    raise NotConstantError(ast.unparse(node))


def _bindings(generator: ast.comprehension, names: Names) -> Iterator[Names]:
    for bound in loop(generator.target, generator.iter, names):
        if all(_evaluate(condition, bound) for condition in generator.ifs):
            yield bound


def loop(target: ast.expr, iterable: ast.expr, names: Names) -> Iterator[Names]:
    """The variables in each round of `for target in iterable`.

    Raises:
        NotConstantError: As for `evaluate`, or a target that is not a single name.
    """
    if not isinstance(target, ast.Name):
        raise NotConstantError(ast.unparse(target))
    values = evaluate(iterable, names)
    for value in values:
        yield names | {target.id: value}


def _binary(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Pow) and not (abs(right) <= _LARGEST and _bits(left) * max(1, abs(right)) <= _BITS):
        raise NotConstantError("too large a power")
    if isinstance(op, ast.Mult):
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, _SEQUENCES) and len(sequence) * count > _LARGEST:
                raise NotConstantError("too long a sequence")
        if isinstance(left, int) and isinstance(right, int) and _bits(left) + _bits(right) > _BITS:
            raise NotConstantError("too large a product")
    if isinstance(op, ast.Mod) and isinstance(left, (str, bytes)):
        raise NotConstantError("text formatting")
    return _checked(_BINARY[type(op)](left, right))


def _checked(value: Any) -> Any:
    if isinstance(value, (*_SEQUENCES, range)) and len(value) > _LARGEST:
        raise NotConstantError("too long a sequence")
    return value


def _bits(number: Any) -> int:
    return number.bit_length() if isinstance(number, int) else 64
