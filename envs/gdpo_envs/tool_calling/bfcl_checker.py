"""Whether calls are what the Berkeley Function-Calling Leaderboard accepts.

Source: the rules of `eval_checker/ast_eval/ast_checker.py` in github.com/ShishirPatil/gorilla at cd9429cc
(BFCL v3), so that accuracies can be set beside published ones. In short:

- As many calls as true calls, in any order. A true call takes the first call that fits it, which makes the
  order matter where a loose true call stands before a tight one (in `parallel_178` alone).
- The right name; all required parameters; none that the true call does not have. A parameter may be
  missing if "" is among its accepted values.
- A value has the declared type, or the type of the accepted values (a variable's name in place of a number);
  `true` is no number, 1 will do for 1.0, but 1.0 not for 1. It equals an accepted value: texts without
  case, spaces and the signs `,./-_*^`, numbers by value.
- A dict's accepted value is a list for each key, in which "" again means that the key may be missing;
  a list has the order of an accepted list.
- In Java and JavaScript values are texts that hold a literal, see `gdpo_envs.tool_calling.bfcl_literals`.

What makes that code stop with an error, such as a number beyond all floats, is simply not right here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gdpo_envs.tool_calling.bfcl_literals import TYPES, read_literal
from gdpo_envs.tool_calling.toolrl import Call

Function = Mapping[str, Any]
"""A tool: `name`, `description`, and `parameters` with `properties` and `required`."""
Answer = Mapping[str, Mapping[str, list[Any]]]
"""A true call: {name: {parameter: accepted values}}."""

OMITTED = ""
"""Among accepted values: the parameter may be missing."""
COLLECTIONS = ("array", "tuple", "Array", "ArrayList")
_PLAIN = (str, int, float, bool)
_FLOATS_END = 1 << 1023
"""A power of two that floats can hold, as all smaller integers."""
_IGNORED = str.maketrans({**dict.fromkeys(" ,./-_*^", None), "'": '"'})


def right_calls(
    calls: Sequence[Call], answers: Sequence[Answer], functions: Sequence[Function], language: str = "python"
) -> bool:
    """Whether the calls are right, in whatever order.

    Args:
        calls: The calls of a reply.
        answers: The true calls.
        functions: The tools that were offered.
        language: `"python"`, `"java"` or `"javascript"`.

    Returns:
        Whether every call is the right one and none is missing.
    """
    if len(calls) != len(answers):
        return False
    left = list(calls)
    for answer in answers:
        function = function_of(answer, functions)
        ((_, accepted),) = answer.items()
        for i, call in enumerate(left):
            if right_call(call, function, accepted, language):
                del left[i]
                break
        else:
            return False
    return True


def function_of(answer: Answer, functions: Sequence[Function]) -> Function:
    """The tool that a true call calls; where there is but one tool, the answer's name may differ."""
    if len(functions) == 1:
        return functions[0]
    (name,) = answer
    for tool in functions:
        if tool["name"] == name:
            return tool
    raise LookupError(f"no tool is called {name!r}")


def right_call(call: Call, function: Function, accepted: Mapping[str, list[Any]], language: str = "python") -> bool:
    """Whether a call is a true one, given the accepted values of its parameters."""
    if call["name"] != function["name"]:
        return False
    given, declared = call["parameters"], function["parameters"]
    for key in declared["required"]:
        if key not in given:
            return False
    properties = declared["properties"]
    for key, value in given.items():
        if key not in accepted or key not in properties:
            return False
        if not right_value(value, accepted[key], properties[key], language):
            return False
    return len(given) == len(accepted) or all(OMITTED in accepted[key] for key in accepted.keys() - given.keys())


def right_value(value: Any, accepted: list[Any], declared: Mapping[str, Any], language: str = "python") -> bool:
    """Whether a parameter's value is among the accepted ones.

    Args:
        value: The parsed JSON value.
        accepted: The accepted values.
        declared: The parameter's description: its `type`, and for collections its `items`.
        language: As for `right_calls`.

    Returns:
        Whether it is.
    """
    kind = declared["type"]
    types: dict[str | None, Any] = TYPES[language]
    expected = types[kind]
    if type(value) is expected in _PLAIN and language == "python" and value in accepted:
        return True  # what the rest says too, but faster
    inner_kind = declared["items"]["type"] if kind in COLLECTIONS else None
    inner = types.get(inner_kind)
    if language != "python":
        if not isinstance(value, str):
            return False
        value = read_literal(value, kind, inner_kind, language)
    elif kind == "float" and type(value) is int and abs(value) < _FLOATS_END:
        value = float(value)
    usual = next((type(option) for option in accepted if option != OMITTED), expected)
    if type(value) is not expected:
        return type(value) is usual and value in accepted  # a variable's name, say
    if inner is not None and not _right_items(value, accepted, inner):
        return False
    if usual is not expected:
        return value in accepted
    return any(_same(value, option, inner) for option in accepted)


def _same(value: Any, accepted: Any, inner: type | None) -> bool:
    """Whether a value of the declared type is an accepted value."""
    if isinstance(value, dict):
        return _right_dict(value, accepted)
    if isinstance(value, list) and inner is dict:
        return _right_dicts(value, accepted)
    if value == accepted:
        return True  # as what is left would say, but faster
    if isinstance(value, list):
        return isinstance(accepted, list | str) and _normal_list(value) == _normal_list(list(accepted))
    return bool(_normal(value) == _normal(accepted))


def _right_items(value: list[Any], accepted: list[Any], inner: type) -> bool:
    """Whether the items of a list have the declared type, or that of one of the accepted lists."""
    for option in accepted:
        if not isinstance(option, list):
            return True  # as published: once the parameter may be missing, any items have the right type
        usual = next((type(item) for item in option if item != OMITTED), inner)
        if {inner, usual}.issuperset(map(type, value)):
            return True
    return False


def _right_dict(value: Any, accepted: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(accepted, dict):
        return False
    return all(
        key in accepted and _normal(item) in [_normal(option) for option in accepted[key]]
        for key, item in value.items()
    ) and all(key in value or OMITTED in options for key, options in accepted.items())


def _right_dicts(value: list[Any], accepted: Any) -> bool:
    return isinstance(accepted, list) and len(value) == len(accepted) and all(map(_right_dict, value, accepted))


def _normal_list(value: list[Any]) -> list[Any]:
    return [_normal(item) for item in value]


def _normal(value: Any) -> Any:
    """Texts that differ only in case, spaces, quotes and some signs are equal."""
    return value.translate(_IGNORED).lower() if isinstance(value, str) else value
