"""Names with options, `name:option=value,option=value`, as command lines and Python take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from gdpo_bench.core import yaml
from gdpo_bench.core.errors import GdpoBenchError


class ChoiceError(GdpoBenchError, ValueError):
    """A name with options that cannot be read."""


def parse_choice(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name` or `name:option=value,option=value`, as command lines give it.

    Raises:
        ChoiceError: An option without a value, or with one that cannot be read.
    """
    found = re.fullmatch(r"(?P<name>.+?)(:(?P<options>[\w.]+=.*))?", text, re.DOTALL)
    if found is None:
        raise ChoiceError(f"Expected name or name:option=value; got {text!r}.")
    parts = found["options"].split(",") if found["options"] else []
    try:
        return found["name"], parse_assignments(parts)
    except ChoiceError as error:
        raise ChoiceError(f"{text!r:.200}: {error}") from error


def choice_fields(value: Any, name: str) -> Any:
    """The fields of a pydantic model for a choice that is written as text; what is no text stays as it is.

    Args:
        value: What stands in a file.
        name: The field for what stands before the options.

    Raises:
        ChoiceError: See `parse_choice`.
    """
    if not isinstance(value, str):
        return value
    found, options = parse_choice(value)
    return {name: found, "options": options}


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read `option=value`, whose value is YAML.

    Raises:
        ChoiceError: There is no value, or it cannot be read.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ChoiceError(f"expected option=value; got {text!r}.")
    try:
        return key, yaml.parse(value).value
    except yaml.NotYAMLError as error:
        raise ChoiceError(f"cannot read the value of {key}, {value!r:.80}: {error}.") from error


def split_words(values: Sequence[str]) -> list[str]:
    """The words of a list; `a,b` is two, but in `gdpo:eps=1e-4,ddof=0` the comma parts options."""
    words: list[str] = []
    for value in values:
        for part in value.split(","):
            if words and "=" in words[-1] and re.match(r"[\w.]+=", part):
                words[-1] += f",{part}"
            elif part:
                words.append(part)
    return words


def parse_assignments(words: Iterable[str]) -> dict[str, Any]:
    """Read several `option=value`.

    Raises:
        ChoiceError: One cannot be read, or an option stands twice.
    """
    found: dict[str, Any] = {}
    for key, value in map(parse_assignment, words):
        if key in found:
            raise ChoiceError(f"{key} is set twice, to {found[key]!r} and to {value!r}; leave one out.")
        found[key] = value
    return found
