"""Calls that BFCL accepts, made from its lists of accepted values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gdpo_envs.tool_calling.bfcl_checker import COLLECTIONS, OMITTED, Answer, Function, function_of, right_value
from gdpo_envs.tool_calling.bfcl_literals import write_literal
from gdpo_envs.tool_calling.toolrl import Call

_NONE = object()
"""No value at all; None is one."""


def reference_calls(answers: Sequence[Answer], functions: Sequence[Function], language: str = "python") -> list[Call]:
    """A call for each true call, with the first value of each parameter that the checker accepts.

    Args:
        answers: The true calls.
        functions: The tools that were offered.
        language: `"python"`, `"java"` or `"javascript"`.

    Returns:
        The calls. A parameter without an accepted value is left out, which may be wrong too.
    """
    calls = []
    for answer in answers:
        function = function_of(answer, functions)
        properties, required = function["parameters"]["properties"], function["parameters"]["required"]
        ((_, accepted),) = answer.items()
        parameters = {}
        for key, declared in ((key, properties[key]) for key in accepted if key in properties):
            # "" stands for a missing parameter; only where the parameter is required, it can but be meant as a text.
            options = [option for option in accepted[key] if option != OMITTED] + [OMITTED] * (key in required)
            values = (_written(_plain(option), declared, language) for option in options)
            right = (value for value in values if right_value(value, accepted[key], declared, language))
            if (value := next(right, _NONE)) is not _NONE:
                parameters[key] = value
        calls.append(Call(name=function["name"], parameters=parameters))
    return calls


def _plain(accepted: Any) -> Any:
    """An accepted value without the alternatives in it."""
    if isinstance(accepted, list):
        return [_plain(item) if isinstance(item, dict) else item for item in accepted]
    if not isinstance(accepted, dict):
        return accepted
    first = {
        key: next((option for option in options if option != OMITTED), OMITTED) for key, options in accepted.items()
    }
    return {key: value for key, value in first.items() if value != OMITTED or OMITTED not in accepted[key]}


def _written(value: Any, declared: Mapping[str, Any], language: str) -> Any:
    """The value as a reply writes it: JSON, or a text with a literal."""
    if language == "python" or isinstance(value, str):
        return value
    inner = declared["items"]["type"] if declared["type"] in COLLECTIONS else None
    return write_literal(value, declared["type"], inner, language)
