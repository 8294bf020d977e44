import ast
from typing import Any

import pytest
from gdpo_envs.coding.asserts import Asserts, read_asserts
from gdpo_envs.coding.constants import FUNCTIONS, NotConstantError, evaluate
from gdpo_envs.coding.problem import literal, passes
from hypothesis import given
from hypothesis import strategies as st


def value(text: str, **names: Any) -> Any:
    return evaluate(ast.parse(text, mode="eval").body, names)


def read(text: str) -> Asserts:
    return read_asserts(ast.parse(text).body, "f")


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "-2.5",
        "+3",
        "not 0",
        "[1, (2, 'a'), {3: None}, {4}]",
        "3 * 19 * 3",
        "2.0 / 3.0",
        "7 // 2 - 7 % 3",
        "'a' * 10 + 'b'",
        "[1] * 3",
        "2 ** 100",
        "tuple([1, 2])",
        "set((4, 5))",
        "list(range(-9, 10, 3))",
        "str(8)",
        "sum([i ** 2 for i in range(9) if i % 2 != 0 and i > 3])",
        "sorted([3, 1, 2])",
        "1j * 2",
        "set()",
    ],
)
def test_constants_have_the_value_that_python_gives_them(text: str) -> None:
    assert value(text) == eval(text)


def test_variables_are_looked_up() -> None:
    assert value("x + len(y)", x=1, y=[1, 2]) == 3


@pytest.mark.parametrize(
    "text",
    [
        "open('/etc/passwd')",
        "__import__('os')",
        "().__class__",
        "x",
        "print",
        "(lambda: 1)()",
        "[].append(1)",
        "f'{1}'",
        "'%s' % 1",
        "1 if True else 2",
        "{**{}}",
        "[*()]",
        "[i for i in range(3) for j in range(3)]",
        "[i for i, j in [(1, 2)]]",
        "1 / 0",
        "'a' + 1",
        "[][0]",
        "list({'a', 'b'})",
        "str(set(['a', 'b']))",
        "int('a')",
    ],
)
def test_what_is_no_constant_is_refused(text: str) -> None:
    with pytest.raises(NotConstantError):
        value(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9",
        "2 ** 10 ** 9",
        "2.0 ** 10 ** 9",
        "'a' * 10 ** 9 * 10 ** 9",
        "[0] * 100000 * 100000",
        "[[0] * 1000] * 1000000",
        "list(range(10 ** 12))",
        "sum(range(10 ** 12))",
        "sorted(range(10 ** 12))",
        "str(10 ** 5000)",
        "[i for i in range(10 ** 12)]",
        "(" * 50 + "10 ** 3000" + ")" * 50 + " * 10 ** 3000",
        "'a'" + " * 99" * 100,
    ],
)
def test_what_would_grow_too_large_is_refused(text: str) -> None:
    with pytest.raises(NotConstantError):
        value(text)


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(st.integers(-5, 5), max_size=3))
def test_functions_give_what_python_gives(name: str, arguments: list[int]) -> None:
    text = f"{name}({', '.join(map(str, arguments))})"
    try:
        expected = eval(text)
    except (TypeError, ValueError):
        with pytest.raises(NotConstantError):
            value(text)
    else:
        assert value(text) == (list(expected) if isinstance(expected, range) else expected)


@pytest.mark.parametrize(
    ("text", "arguments", "right", "wrong"),
    [
        ("assert f(1, [2]) == 3", (1, [2]), [3, 3.0], [4, "3", None]),
        ("assert f() is True", (), [True], [1, False]),
        ("assert f(2)", (2,), [True, 1, "x"], [0, None, ""]),
        ("assert not f(2)", (2,), [False, 0, None], [True]),
        ("assert f(-1) == None, 'message'", (-1,), [None], [0, False]),
        ("assert set(f(1)) == set([2, 3])", (1,), [[3, 2], (2, 3), {2, 3}], [[2], 2]),
        ("assert tuple(f(1)) == tuple([2, 3])", (1,), [[2, 3], (2, 3)], [[3, 2]]),
        ("assert abs(f(1) - 2 / 3) < 1e-6", (1,), [0.6666667], [0.66, "x"]),
        ("import math\nassert math.isclose(f(1), 100.0, rel_tol=0.001)", (1,), [100.05, 100], [101]),
        ("x = [1] * 2\nassert f(x) == x", ([1, 1],), [[1, 1]], [(1, 1)]),
    ],
)
def test_assert_becomes_arguments_and_expectation(
    text: str, arguments: tuple[Any, ...], right: list[Any], wrong: list[Any]
) -> None:
    found = read(text)
    assert not found.unread
    (case,) = found.cases
    assert literal(case["input"]) == arguments
    assert all(passes(case, "call", answer) for answer in right)
    assert not any(passes(case, "call", answer) for answer in wrong)


def test_loop_gives_a_test_each_round() -> None:
    found = read("for x in range(2, 5):\n    y = x + 1\n    assert f(x, y) == str(x)")
    assert [(case["input"], case["output"]) for case in found.cases] == [
        ("(2, 3)", "'2'"),
        ("(3, 4)", "'3'"),
        ("(4, 5)", "'4'"),
    ]


def test_assert_that_says_nothing_is_no_test() -> None:
    assert read("assert True, 'good'\nprint('x')\nimport math") == Asserts([], [])


@pytest.mark.parametrize(
    "text",
    [
        "assert f(2) == f(2)",
        "assert f(2) == g(2)",
        "assert g(2) == 3",
        "assert f(x) == 3",
        "assert f(2) != 3",
        "assert f(2) > 3",
        "assert f(a=2) == 3",
        "assert f(*[2]) == 3",
        "assert f(2) == 3 or True",
        "assert f(2) == 3 == 3",
        "assert abs(f(2)) < 1",
        "assert f(2).x == 3",
        "assert len(f(2)) == 3",
        "while f(2): pass",
        "x = g()",
    ],
)
def test_statement_that_is_not_understood_is_told_and_never_a_test(text: str) -> None:
    found = read(text)
    assert not found.cases
    assert len(found.unread) == 1
