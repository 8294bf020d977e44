"""From published `assert` statements to tests: arguments, expected value, and how they are compared."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gdpo_envs import python_source
from gdpo_envs.coding.constants import Names, NotConstantError, evaluate, loop
from gdpo_envs.coding.problem import Case, call_case
from gdpo_envs.loading import UnusableRowError

_SHOWN = 60


@dataclass
class Asserts:
    """What was made of a series of statements."""

    cases: list[Case] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Statements of which no test could be made."""


def parse(source: str, column: str) -> list[ast.stmt]:
    """The statements of published source.

    Raises:
        UnusableRowError: It is not Python.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes and comparisons that nobody will mend
            return python_source.statements(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnusableRowError(f"{column!r} is not Python: {error}") from error


def read_asserts(statements: Iterable[ast.stmt], function: str, names: Names | None = None) -> Asserts:
    """Tests from statements such as `assert f(2) == 4`, without running them.

    What occurs in HumanEval and MBPP is understood: a call on either side of `==` or `is`, by itself
    or after `not`, within `set(…)` or `tuple(…)`, `abs(f(x) - y) < eps`, `math.isclose`, variables,
    and loops over constants. `assert True` says nothing and is passed over.

    Args:
        statements: The source, parsed.
        function: Name of the function under test.
        names: Variables known before.
    """
    found = Asserts()
    _read(statements, function, dict(names or {}), found)
    return found


def _read(statements: Iterable[ast.stmt], function: str, names: Names, found: Asserts) -> None:
    for statement in statements:
        try:
            match statement:
                case ast.Assert(test=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Expr():
                    pass
                case ast.Assert(test=test):
                    found.cases.append(_case(test, function, names))
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    names[name] = evaluate(value, names)
                case ast.For(target=target, iter=iterable, body=body, orelse=[]):
                    for bound in loop(target, iterable, names):
                        _read(body, function, bound, found)
                case _:
                    raise NotConstantError(ast.unparse(statement))
        except NotConstantError:
            found.unread.append(f"{ast.unparse(statement):.{_SHOWN}}")


def _case(test: ast.expr, function: str, names: Names) -> Case:
    def case(call: ast.expr, rule: str, expected: Any) -> Case:
        return call_case(_arguments(call, function, names), expected, rule)

    def value(node: ast.expr) -> Any:
        return evaluate(node, names)

    match test:
        case ast.UnaryOp(op=ast.Not(), operand=call):
            return case(call, "true", False)
        case ast.Call(func=ast.Name()):
            return case(test, "true", True)
        case ast.Compare(left=left, ops=[ast.Is()], comparators=[right]):
            return case(left, "exact", value(right))
        case ast.Compare(left=ast.Call(func=ast.Name(id="abs"), args=[difference]), ops=[ast.Lt()], comparators=[eps]):
            if isinstance(difference, ast.BinOp) and isinstance(difference.op, ast.Sub):
                return case(difference.left, f"absolute:{value(eps)}", value(difference.right))
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="math"), attr="isclose"),
            args=[call, expected],
            keywords=[ast.keyword(arg="rel_tol", value=tolerance)],
        ):
            return case(call, f"relative:{value(tolerance)}", value(expected))
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return _equation(left, right, function, case, value)
    raise NotConstantError(ast.unparse(test))


def _equation(
    left: ast.expr,
    right: ast.expr,
    function: str,
    case: Callable[[ast.expr, str, Any], Case],
    value: Callable[[ast.expr], Any],
) -> Case:
    match left:
        case ast.Call(func=ast.Name(id=view), args=[call]) if view in ("set", "tuple") and view != function:
            return case(call, view, value(right))
    return case(left, "equal", value(right))


def _arguments(call: ast.expr, function: str, names: Names) -> tuple[Any, ...]:
    match call:
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name == function:
            return tuple(evaluate(argument, names) for argument in arguments)
    raise NotConstantError(ast.unparse(call))
