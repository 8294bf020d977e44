"""Names with options, `name:option=value,option=value`, as command lines and Python take them."""

from __future__ import annotations

import re
from typing import Any

import yaml

from gdpo_bench.core.errors import GdpoBenchError


class ChoiceError(GdpoBenchError, ValueError):
    """A name with options that cannot be read."""


class YAMLLoader(yaml.SafeLoader):
    """YAML 1.2's numbers: `1e-4` is a float, and `1:0` is a text, not sixty. No field stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping without repeated keys, of which plain YAML would silently take the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is set twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


YAMLLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
YAMLLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
YAMLLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"([-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


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
        return found["name"], dict(map(parse_assignment, parts))
    except ChoiceError as error:
        raise ChoiceError(f"{text!r}: {error}") from error


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read `option=value`, whose value is YAML.

    Raises:
        ChoiceError: There is no value, or it cannot be read.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ChoiceError(f"expected option=value; got {text!r}.")
    try:
        return key, yaml.load(value, YAMLLoader)
    except yaml.YAMLError as error:
        raise ChoiceError(f"cannot read the value of {key}, {value!r}.") from error
