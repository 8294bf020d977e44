"""Whether an answer is right. Pure, and outside the sandbox, where no program can reach it.

How strict a comparison is, each test says by the name of its rule, with a number after a colon
where one is needed:

- `exact`: same types and same values, recursively. 1, 1.0 and True differ, as do (1,) and [1].
- `json`: the same, for expectations that come from JSON. It knows neither tuples nor numbers as
  keys, so a tuple counts as a list and the key 1 as "1".
- `json_only`: the same; an expectation `[x]` is also met by `x`, since in APPS both mean x.
- `equal`: Python's `==`, as `assert f(x) == y` means it: 1, 1.0 and True are equal, (1,) and [1] not.
- `set`, `tuple`: `equal` after making that of the answer.
- `true`: whether the answer counts as true is what is expected. An object that is not plain data,
  such as a match, counts as true.
- `relative:t`, `absolute:t`: a number within a relative error of t (as `math.isclose`), or less
  than t away.
- `root:t`: the polynomial whose coefficients are expected is less than t away from 0 at the answer.
- `tokens`, `tokens:t`: text with the same tokens between white space; with t, a number that is not
  written as an integer in both may have an absolute or relative error of t.
- `tokens_any_case`, `tokens_any_case:t`: the same, and capital letters count as small ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gdpo_sandbox import Opaque

_SCALARS = (bool, int, float, complex, str, bytes)
_NUMBER = re.compile(r"[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?", re.ASCII)
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_NUMBER_LENGTH = 400
"""Longer tokens are compared as text alone."""
_ITERABLES = (list, tuple, set, frozenset, dict, str)
_HASHED_DEPTH = 20
_NAN = object()

Same = Callable[[Any, Any], bool]


def matches(rule: str, answer: Any, expected: Any) -> bool:
    """Whether an answer meets the expectation under a rule.

    Args:
        rule: The name of a rule, with its number.
        answer: What the program returned or wrote, untrusted: of any size, depth and type.
        expected: What is right.

    Raises:
        ValueError: There is no such rule.
    """
    name, _, number = rule.partition(":")
    if name not in RULES:
        raise ValueError(f"There is no rule {rule!r}; known: {', '.join(RULES)}.")
    try:
        return RULES[name](answer, expected, float(number or 0))
    except (TypeError, ValueError, OverflowError):  # unhashable, infinite, beyond all floats: not what we expect
        return False


def _exact(answer: Any, expected: Any) -> bool:
    if type(answer) is not type(expected):
        return False
    if isinstance(expected, (list, tuple)):
        return _sequences(answer, expected, _exact)
    if isinstance(expected, dict):
        return _mappings(answer, expected, _exact)
    if isinstance(expected, (set, frozenset)):
        return _sets(answer, expected, _exact) is not None
    return _scalars(answer, expected)


def _json(answer: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return type(answer) in (list, tuple) and _sequences(answer, expected, _json)
    if isinstance(expected, dict) and type(answer) is dict:
        return _mappings({str(k) if type(k) is int else k: v for k, v in answer.items()}, expected, _json)
    return _exact(answer, expected)


def _equal(answer: Any, expected: Any) -> bool:
    if isinstance(expected, (list, tuple)):
        return type(answer) is type(expected) and _sequences(answer, expected, _equal)
    if isinstance(expected, dict):
        return type(answer) is dict and _mappings(answer, expected, _equal)
    if isinstance(expected, (set, frozenset)):
        return type(answer) in (set, frozenset) and _sets(answer, expected, _equal) is not None
    return _scalars(answer, expected)


def _scalars(answer: Any, expected: Any) -> bool:
    if expected is None or answer is None:
        return answer is expected
    if type(answer) not in _SCALARS:
        return False  # whatever else it is, its `__eq__` is not to be trusted
    both_nan = answer != answer and expected != expected  # noqa: PLR0124 (what NaN is known by)
    return both_nan or bool(answer == expected)


def _sequences(answer: Any, expected: Any, same: Same) -> bool:
    return len(answer) == len(expected) and all(map(same, answer, expected))


def _sets(answer: Iterable[Any], expected: Iterable[Any], same: Same) -> dict[Any, Any] | None:
    """The members of `answer` by their partners in `expected`, or None where one has no partner."""
    members = {_hashable(member): member for member in answer}
    wanted = {_hashable(member): member for member in expected}
    if len(members) != len(wanted):
        return None
    if all(key in members and same(members[key], member) for key, member in wanted.items()):
        return {key: members[key] for key in wanted}
    return None


def _mappings(answer: Mapping[Any, Any], expected: Mapping[Any, Any], same: Same) -> bool:
    partners = _sets(answer, expected, same)
    return partners is not None and all(
        same(answer[partners[_hashable(key)]], value) for key, value in expected.items()
    )


def _hashable(member: Any) -> Any:
    return _NAN if isinstance(member, float) and math.isnan(member) else member


def _only(answer: Any, expected: Any) -> bool:
    return _json(answer, expected) or (len(expected) == 1 and _json(answer, expected[0]))


def _as_set(answer: Any, expected: Any) -> bool:
    """Looked up member by member in what is expected: a set of the answer could take quadratic time to make."""
    if type(answer) not in _ITERABLES or type(expected) not in (set, frozenset) or not _shallow(answer):
        return False
    wanted = {_hashable(member): member for member in expected}
    missing = set(wanted)
    for member in answer:
        partner = _hashable(member)
        if partner not in wanted or not _equal(member, wanted[partner]):
            return False
        missing.discard(partner)
    return not missing


def _as_tuple(answer: Any, expected: Any) -> bool:
    return type(answer) in _ITERABLES and _equal(tuple(answer), expected)


def _shallow(value: Any) -> bool:
    """Whether nothing nests deeper than we may hash; Python's hash of a deep tuple overflows the stack."""
    level = [value]
    for _ in range(_HASHED_DEPTH):
        level = [item for members in level if type(members) in (list, tuple, frozenset) for item in members]
    return not level


def _truth(answer: Any, expected: Any) -> bool:
    if type(answer) is Opaque:
        return bool(expected)
    plain = answer is None or type(answer) in (*_SCALARS, list, tuple, dict, set, frozenset)
    return plain and bool(answer) == expected


def _real(answer: Any) -> bool:
    return type(answer) in (int, float)


def _root(answer: Any, coefficients: Any, tolerance: float) -> bool:
    if not _real(answer):
        return False
    x = float(answer)  # powers of a float cannot grow for minutes, as those of an integer can
    return abs(math.fsum(c * x**i for i, c in enumerate(coefficients))) < tolerance


def _tokens(answer: Any, expected: Any, tolerance: float) -> bool:
    found, wanted = answer.split(), expected.split()
    if not tolerance or len(found) != len(wanted):
        return bool(found == wanted)
    return all(a == b or _close(a, b, tolerance) for a, b in zip(found, wanted, strict=True))


def _close(found: str, wanted: str, tolerance: float) -> bool:
    if max(len(found), len(wanted)) > _NUMBER_LENGTH or not (_NUMBER.fullmatch(found) and _NUMBER.fullmatch(wanted)):
        return False
    if _INTEGER.fullmatch(found) and _INTEGER.fullmatch(wanted):
        return False  # they would be equal
    return math.isclose(float(found), float(wanted), rel_tol=tolerance, abs_tol=tolerance)


RULES: dict[str, Callable[[Any, Any, float], bool]] = {
    "exact": lambda answer, expected, _: _exact(answer, expected),
    "json": lambda answer, expected, _: _json(answer, expected),
    "json_only": lambda answer, expected, _: _only(answer, expected),
    "equal": lambda answer, expected, _: _equal(answer, expected),
    "set": lambda answer, expected, _: _as_set(answer, expected),
    "tuple": lambda answer, expected, _: _as_tuple(answer, expected),
    "true": lambda answer, expected, _: _truth(answer, expected),
    "relative": lambda answer, expected, t: _real(answer) and math.isclose(answer, expected, rel_tol=t),
    "absolute": lambda answer, expected, t: _real(answer) and abs(answer - expected) < t,
    "root": _root,
    "tokens": _tokens,
    "tokens_any_case": lambda answer, expected, t: _tokens(str.casefold(answer), expected.casefold(), t),
}
