"""Tests as APPS publishes them, and Eurus-2 after it: `inputs`, `outputs`, and `fn_name` for functions."""

from __future__ import annotations

import json
import re
from typing import Any

from gdpo_envs.coding.problem import Case, call_case
from gdpo_envs.loading import UnusableRowError

IMPORTS = "\n".join(
    (
        "import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys",
        "from collections import *",
        "from functools import *",
        "from heapq import *",
        "from itertools import *",
        "from math import *",
        "from typing import *",
    )
)
"""What functions for LeetCode and Codewars may take for granted."""

_PRECISION = re.compile(
    r"(?:absolute|relative)[^.]{0,60}?(?:error|difference between)[^.]{0,120}?"
    r"(?:10\s*\^?\s*\{?\s*[-−–]\s*(?P<power>[0-9]{1,2})|1[eE]-(?P<exponent>[0-9]{1,2})|(?P<decimal>0\.0{1,11}1))",
    re.IGNORECASE,
)

_ANY_CASE = re.compile(
    r"(?:letters?|characters?|symbols?)\b[^.]{0,60}?\bin (?:any|either|arbitrary) (?:case|register)\b"
    r"|\bin (?:any|either|arbitrary) (?:letter )?(?:case|register)\b[^.]{0,40}?(?:upper|lower|example|e\.g|\byEs\b)"
    r"|\(in (?:any|either|arbitrary) (?:letter )?(?:case|register)\)"
    r"|\b(?:print|output|answer|checker|judge|verdict)[^.]{0,80}?(?:case[- ]insensitive|ignor\w+ (?:the )?case\b)"
    r"|\bcase of (?:the )?letters? (?:in the (?:output|answer) )?(?:does not|doesn't|is not) (?:matter|important)",
    re.IGNORECASE,
)
"""Where a problem says that capital letters may be written for small ones: "You may print each letter in any case"."""


def read_json(text: str, where: str) -> Any:
    """What a JSON text holds.

    Raises:
        UnusableRowError: It is not JSON, nests too deep, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise UnusableRowError(f"{where} is not JSON: {error}") from error


def cases_from(tests: Any, statement: str) -> tuple[list[Case], str | None]:
    """The tests, and the name of the function or None for whole programs.

    Args:
        tests: A mapping with `inputs`, `outputs` and perhaps `fn_name`.
        statement: The problem, which may grant a precision.

    Raises:
        UnusableRowError: There are no tests, or not as many outputs as inputs.
    """
    if not isinstance(tests, dict) or not all(isinstance(tests.get(name), list) for name in ("inputs", "outputs")):
        raise UnusableRowError("the tests are no mapping with lists 'inputs' and 'outputs'")
    inputs, outputs, function = tests["inputs"], tests["outputs"], tests.get("fn_name")
    if not inputs:
        raise UnusableRowError("there are no tests")
    if len(inputs) != len(outputs):
        raise UnusableRowError(f"there are {len(inputs)} inputs but {len(outputs)} outputs")
    if function:
        return _call_cases(inputs, outputs), str(function)
    return text_cases(inputs, outputs, statement), None


def text_cases(inputs: list[Any], outputs: list[Any], statement: str) -> list[Case]:
    """Tests of a program that reads and writes text."""
    tolerance = stated_precision(statement)
    rule = "tokens_any_case" if _ANY_CASE.search(statement) else "tokens"
    if tolerance is not None:
        rule += f":{tolerance:g}"
    return [
        Case(input=_text(given).replace("\r\n", "\n"), output=_text(expected), rule=rule)
        for given, expected in zip(inputs, outputs, strict=True)
    ]


def stated_precision(statement: str) -> float | None:
    """The absolute or relative error that a problem allows for, or None.

    It is read from phrases such as "absolute or relative error does not exceed 10^{-6}".
    """
    found = _PRECISION.search(statement)
    if found is None:
        return None
    power = found["power"] or found["exponent"]
    return float(found["decimal"]) if power is None else 10.0 ** -int(power)


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, list):
        return "\n".join(map(_text, content))
    return content if isinstance(content, str) else json.dumps(content)


def _call_cases(inputs: list[Any], outputs: list[Any]) -> list[Case]:
    """Arguments are a list, or one JSON text a line; results are as they are, or JSON where arguments are."""
    arguments = [[read_json(a, "an input") for a in i.split("\n")] if isinstance(i, str) else i for i in inputs]
    expected = [
        read_json(output, "an output") if isinstance(given, str) and isinstance(output, str) else output
        for given, output in zip(inputs, outputs, strict=True)
    ]
    if not all(isinstance(given, list) for given in arguments):
        raise UnusableRowError("an input is no list of arguments")
    # Some sources put every result into a list of its own, and say so nowhere.
    wrapped = all(isinstance(result, list) and len(result) == 1 for result in expected)
    rule = "json_only" if wrapped else "json"
    return [
        call_case(tuple(map(_with_number_keys, given)), result, rule)
        for given, result in zip(arguments, expected, strict=True)
    ]


def _with_number_keys(argument: Any) -> Any:
    """JSON writes all keys as text; where all of them are integers, that is what they were."""
    if isinstance(argument, dict) and argument and all(re.fullmatch(r"-?[0-9]{1,18}", key) for key in argument):
        return {int(key): value for key, value in argument.items()}
    return argument
