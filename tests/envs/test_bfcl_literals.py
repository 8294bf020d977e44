from typing import Any

import pytest
from gdpo_envs.tool_calling.bfcl_literals import LONGEST, read_literal, write_literal
from hypothesis import given
from hypothesis import strategies as st

Case = tuple[str, str, str | None, Any]

JAVA: list[Case] = [
    ("5", "integer", None, 5),
    ("-5", "byte", None, -5),
    ("5.0", "integer", None, "5.0"),
    ("5L", "long", None, 5),
    ("5", "long", None, "5"),
    ("2.5f", "float", None, 2.5),
    ("2.5", "float", None, "2.5"),
    ("2.5e-1", "double", None, 0.25),
    ("true", "boolean", None, True),
    ("True", "boolean", None, "True"),
    ("'c'", "char", None, "'c'"),
    ('"x"', "String", None, '"x"'),
    ("5", "any", None, "5"),
    ("new int[]{1, 2}", "Array", "integer", [1, 2]),
    ("new int[] { }", "Array", "integer", []),
    ('new String[]{"a", "b"}', "Array", "String", ['"a"', '"b"']),  # their quotes stay
    ("textBuffer", "Array", "char", "textBuffer"),
    ("new ArrayList<Long>(Arrays.asList(1L, 2))", "ArrayList", "long", [1, "2"]),
    ('new ArrayList<>(Arrays.asList("a", "b"))', "ArrayList", "String", ["a", "b"]),
    ("new ArrayList<>() {{ add(1); add(2); }}", "ArrayList", "integer", [1, 2]),
    ("new ArrayList<>()", "ArrayList", "integer", []),
    ("list", "ArrayList", "integer", "list"),
    ("new ArrayList<>(Arrays.asList(1, true))", "ArrayList", "any", ["1", "true"]),
    (
        'new HashMap<String, Object>() {{ put("a", 1); put("b", "c"); put("d", true); put("e", 2L); put("f", x); }}',
        "HashMap",
        None,
        {"a": 1, "b": "c", "d": True, "e": 2, "f": "x"},
    ),
    ("new HashMap<String, List<String>>()", "HashMap", None, {}),
    ("envVariables", "HashMap", None, "envVariables"),
]
JAVASCRIPT: list[Case] = [
    ("5", "integer", None, 5),
    ("5n", "Bigint", None, 5),
    ("5", "Bigint", None, "5"),
    ("2.5", "float", None, 2.5),
    ("2e3", "float", None, "2e3"),
    ("false", "Boolean", None, False),
    ("'x'", "String", None, "x"),
    ("x", "String", None, "x"),
    ("'x'", "any", None, "'x'"),
    ("[1, 2]", "array", "integer", [1, 2]),
    ("new Array(1, 2)", "array", "float", [1.0, 2.0]),
    ("['a', \"b\"]", "array", "String", ["a", "b"]),
    ("[]", "array", "String", []),
    ("items", "array", "String", "items"),
    ("{'a': 1, \"b\": 'c', d: true, e: [1, 'x']}", "dict", None, {"a": 1, "b": "c", "d": True, "e": [1, "x"]}),
    ("{}", "dict", None, {}),
    ("options", "dict", None, "options"),
]


@pytest.mark.parametrize(
    ("text", "kind", "inner", "language", "value"),
    [(text, kind, inner, "java", value) for text, kind, inner, value in JAVA]
    + [(text, kind, inner, "javascript", value) for text, kind, inner, value in JAVASCRIPT],
)
def test_literal_is_read_as_the_leaderboard_reads_it(
    text: str, kind: str, inner: str | None, language: str, value: Any
) -> None:
    read = read_literal(text, kind, inner, language)
    assert (type(read), read) == (type(value), value)


words = st.text(alphabet="abcXYZ", min_size=1, max_size=5)
plain = st.integers(-99, 99) | st.booleans() | words


@given(st.dictionaries(words, plain, min_size=1, max_size=4))
def test_written_dicts_are_read_back(value: dict[str, Any]) -> None:
    for kind, language in (("HashMap", "java"), ("dict", "javascript")):
        assert read_literal(write_literal(value, kind, None, language), kind, None, language) == value


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=4), st.lists(words, min_size=1, max_size=4))
def test_written_lists_are_read_back(numbers: list[int], texts: list[str]) -> None:
    for kind, language in (("Array", "java"), ("ArrayList", "java"), ("array", "javascript")):
        for value, inner in ((numbers, "integer"), (texts, "String")):
            assert read_literal(write_literal(value, kind, inner, language), kind, inner, language) == value


@given(st.integers(-(10**9), 10**9), st.floats(-100, 100).map(lambda x: round(x, 2)))
def test_written_numbers_are_read_back(whole: int, fraction: float) -> None:
    for kind, language in (("integer", "java"), ("long", "java"), ("integer", "javascript"), ("Bigint", "javascript")):
        assert read_literal(write_literal(whole, kind, None, language), kind, None, language) == whole
    for kind, language in (("float", "java"), ("double", "java"), ("float", "javascript")):
        assert read_literal(write_literal(fraction, kind, None, language), kind, None, language) == fraction


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        " ",
        "new ",
        "new a[]{",
        "new ArrayList<>() {{ ",
        "add(",
        "[",
        "{",
        "],[",
        "a:",
        "a:,",
        ", ",
        'put("',
        "9",
        "[1],",
        "{ ",
    ],
)
@pytest.mark.parametrize(
    "start", ["", "[[1]", "{", "new HashMap<>() {", "new ArrayList<>() {{", "new ArrayList<>(Arrays.asList("]
)
def test_hostile_literal_takes_no_time(start: str, piece: str) -> None:
    for text in ((start + piece * LONGEST)[:LONGEST], start + piece * 100_000):
        for kind, inner, language in (
            ("Array", "integer", "java"),
            ("ArrayList", "String", "java"),
            ("HashMap", None, "java"),
            ("double", None, "java"),
            ("array", "String", "javascript"),
            ("dict", None, "javascript"),
        ):
            read_literal(text, kind, inner, language)
