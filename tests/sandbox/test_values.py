"""Values keep their exact types on the way, and forged text is refused in time."""

import contextlib
import enum
import json
import math
import time
from collections import Counter, OrderedDict, namedtuple
from typing import Any

import pytest
from gdpo_sandbox import Opaque
from gdpo_sandbox.image.worker import values
from hypothesis import given, settings
from hypothesis import strategies as st

LARGE = 1 << 20
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers().map(lambda value: value << 20_000)  # too many digits for int() and str()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.text(st.sampled_from("aé\ud800\udc00\U0001f600"))
    | st.binary()
)
hashables = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4)
)
plain = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.sets(hashables, max_size=4)
    ),
    max_leaves=12,
)


def types_and_values(value: Any) -> Any:
    """What tells apart all that `==` does not: 1, 1.0 and True; 0.0 and -0.0; one NaN from no other."""
    if isinstance(value, dict):
        return dict, [(types_and_values(key), types_and_values(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [types_and_values(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(types_and_values(item)) for item in value)
    return type(value), hex(value) if isinstance(value, int) else repr(value)


@given(plain)
@settings(max_examples=300, deadline=None)
def test_a_value_comes_back_with_the_same_types(value: Any) -> None:
    assert types_and_values(values.decode(values.encode(value, LARGE))) == types_and_values(value)


@given(plain)
@settings(deadline=None)
def test_the_text_is_ascii_on_one_line(value: Any) -> None:
    text = values.encode(value, LARGE)
    assert text.isascii()
    assert "\n" not in text


class Liar(int):
    """Claims to equal everything, to be something else, and to look like 42."""

    __hash__ = int.__hash__
    __class__ = str  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __int__(self) -> int:
        return 42

    __index__ = __int__

    def __repr__(self) -> str:
        return "42"


class Shout(str):
    def __str__(self) -> str:
        return "loud"

    def isascii(self) -> bool:
        raise AssertionError("a method of the program's own was called")

    encode = isascii  # type: ignore[assignment]


class Growing(list[int]):
    def __iter__(self) -> Any:
        raise AssertionError("a method of the program's own was called")

    __len__ = __iter__


Point = namedtuple("Point", "x y")
Colour = enum.IntEnum("Colour", "RED")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Liar(3), 3),
        (Shout("quiet"), "quiet"),
        (Growing([1, 2]), [1, 2]),
        (Point(1, "a"), (1, "a")),
        (Colour.RED, 1),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (type("F", (float,), {"__float__": lambda self: 9.0})(0.5), 0.5),
        (type("C", (complex,), {"real": 9.0})(1, 2), 1 + 2j),
        (type("B", (bytes,), {"decode": None})(b"\xff"), b"\xff"),
    ],
    ids=["int", "str", "list", "tuple", "enum", "dict", "ordered", "float", "complex", "bytes"],
)
def test_a_subclass_is_reduced_to_its_builtin_base(value: Any, plain: Any) -> None:
    assert types_and_values(values.decode(values.encode(value, LARGE))) == types_and_values(plain)


def test_what_is_not_plain_is_described_where_it_stands() -> None:
    decoded = values.decode(values.encode([range(3), {"a": iter}], LARGE), Opaque)
    assert decoded[0].type_name == "range"
    assert decoded[0].text == "range(0, 3)"
    assert decoded[0] != range(3)
    assert decoded[1]["a"].type_name == "builtin_function_or_method"


def test_an_object_without_a_name_or_repr_is_described_all_the_same() -> None:
    class Nameless(type):
        __name__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    class Mute(metaclass=Nameless):
        def __repr__(self) -> str:
            raise SystemError

    assert values.decode(values.encode(Mute(), LARGE), Opaque).type_name == "Mute"


def test_cycles_and_bottomless_values_are_opaque_as_a_whole() -> None:
    cycle: list[Any] = [1]
    cycle.append({"self": cycle})
    deep: Any = ()
    for _ in range(values.MAX_DEPTH + 1):
        deep = (deep,)
    for value, name in ((cycle, "list"), (deep, "tuple")):
        assert values.decode(values.encode(value, LARGE), Opaque).type_name == name


def test_the_deepest_value_allowed_comes_back() -> None:
    deep: Any = {1}
    for _ in range(values.MAX_DEPTH - 2):
        deep = {"k": deep}
    assert values.decode(values.encode(deep, LARGE)) == deep


def test_a_value_that_is_small_in_memory_but_not_as_text_is_refused_early() -> None:
    value: Any = "leaf"
    for _ in range(60):
        value = [value, value]
    with pytest.raises(values.TooLargeError):
        values.encode(value, LARGE)
    with pytest.raises(values.TooLargeError):
        values.encode("x" * LARGE, LARGE)


def test_strict_encoding_names_what_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match="range"):
        values.encode([range(3)], LARGE, strict=True)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("tdszocifubx") | st.text(max_size=2), inner, max_size=2)
    ),
)


@given(json_like.map(json.dumps) | st.text())
@settings(max_examples=300, deadline=None)
def test_any_other_text_is_a_value_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        values.decode(text, Opaque)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        "[" * 50_000 + "]" * 50_000,
        '{"t":[' * 20_000 + "]}" * 20_000,
        '{"s":[[1]]}',
        '{"d":[[[1],2]]}',
        '{"d":[[1,2,3]]}',
        '{"t":[],"s":[]}',
        "{}",
        '{"i":7}',
        '{"i":"zz"}',
        '{"b":"\\u1234"}',
        '{"o":["a"]}',
        '{"o":[1,2]}',
        '{"c":[1,2]}',
        '{"nothing":[]}',
        "9" * 5_000,
    ],
)
def test_text_that_stands_for_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever part finds it
        values.decode(text, Opaque)


def test_keys_that_collide_are_refused_before_they_cost_quadratic_time() -> None:
    period = 2**61 - 1
    ints = [index * period for index in range(40_000)]
    tuples = [tuple(-1 - (index >> bit & 1) for bit in range(15)) for index in range(1 << 15)]
    for keys in (ints, tuples):
        items = [json.loads(values.encode(key, LARGE)) for key in keys]
        start = time.process_time()
        for text in (json.dumps({"s": items}), json.dumps({"d": [[item, 0] for item in items]})):
            with pytest.raises(ValueError, match="same hash"):
                values.decode(text)
        assert time.process_time() - start < 30, "building these would take minutes"


def test_a_decoded_nan_is_a_nan() -> None:
    assert math.isnan(values.decode(values.encode(math.nan, LARGE)))
