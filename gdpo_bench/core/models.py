"""Models of what users write in files and on command lines, by pydantic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue

from gdpo_bench.core.task import canonical_json


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
