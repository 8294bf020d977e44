import ast
import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from gdpo_envs.python_source import expression, literal, statements

VALUE = [[1, (2, 3, [4])]] * 10


@pytest.fixture
def collections_that_let_other_threads_run() -> Iterator[None]:
    def let_others_run(_phase: str, _info: dict[str, int]) -> None:
        time.sleep(0)

    threshold = gc.get_threshold()
    gc.callbacks.append(let_others_run)
    gc.set_threshold(50)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(let_others_run)


@pytest.mark.usefixtures("collections_that_let_other_threads_run")
@pytest.mark.parametrize(
    "read",
    [
        literal,
        lambda text: ast.literal_eval(expression(text)),
        lambda text: ast.literal_eval(statements(text)[0].value),
    ],
)
def test_threads_may_parse_at_the_same_time(read: object) -> None:
    """Python 3.11's own `ast.parse` fails here with SystemError within a second."""
    assert callable(read)
    with ThreadPoolExecutor(2) as threads:
        assert all(value == VALUE for value in threads.map(read, [repr(VALUE)] * 600))


def test_what_is_no_literal_or_no_python_is_an_error_as_in_ast() -> None:
    with pytest.raises(ValueError, match="malformed"):
        literal("f(1)")
    for parse in (expression, statements):
        with pytest.raises(SyntaxError):
            parse("1 +")
    assert literal("  {1: (True, None)}") == {1: (True, None)}
