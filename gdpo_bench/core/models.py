"""Models of what users write in files and on command lines, by pydantic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from gdpo_bench.core.task import canonical_json

_TOLD = 10
"""So many complaints are told of one thing."""


class StrictModel(BaseModel):
    """A model that takes no unknown field and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _finite(options: dict[str, Any]) -> dict[str, Any]:
    try:
        canonical_json(options)
    except ValueError as error:
        raise ValueError("numbers must be finite") from error
    return options


Options = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
"""Option → value, whatever JSON holds."""


def options_suffix(options: dict[str, Any]) -> str:
    """Options as they follow a name: `:option=value,option=value`, or nothing."""
    return ":" + ",".join(f"{key}={value}" for key, value in options.items()) if options else ""


def option_sentences(cls: Any) -> dict[str, tuple[str, str]]:
    """Option → its default, as a command line writes it, and the sentence under it.

    Args:
        cls: A model, or a dataclass, that uses its fields' docstrings.
    """
    return {
        name: (
            json.dumps(field["default"]).strip('"') if field.get("default") is not None else "",
            " ".join(field["description"].split()),
        )
        for name, field in TypeAdapter(cls).json_schema()["properties"].items()
    }


def problems(error: ValidationError) -> str:
    """What pydantic complains of, the first few one after the other: place, expectation, and what came."""
    found = error.errors(include_url=False)
    more = [f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
    return "; ".join([*map(describe_problem, found[:_TOLD]), *more])


def describe_problem(problem: Mapping[str, Any]) -> str:
    """One complaint of pydantic in our words, such as `training.steps: Input should be a valid integer (got 'x')`."""
    place = ".".join(map(str, problem["loc"]))
    expected = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "list").replace("Tuple", "List")
    if not place:
        return str(expected)
    told = problem["type"] == "missing" or "; got " in expected
    got = "" if told else f" (got {problem['input']!r:.80})"
    return f"{place}: {expected}{got}"
