"""YAML 1.2 in job files and behind options: `1e-4` is a number, `1:30` and `2026-01-31` are texts."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode


class _Constructor(SafeConstructor):
    """Leaves dates texts, as JSON has none."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)
_ANSWERS = re.compile("(yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$")
"""Booleans of YAML 1.1, which people go on typing; as texts they would all count as true."""
_FRACTION = re.compile(r"[-+]?\.[0-9]+[eE][-+]?[0-9]+$")
"""Such as `.5e-3`, which ruamel.yaml takes for a text."""


class NotYAMLError(ValueError):
    """A text that cannot be read; the message says where."""


@dataclass(frozen=True)
class Document:
    """What a text says, and where it says it."""

    value: Any
    root: Node | None

    def line(self, place: tuple[Any, ...]) -> int:
        """The line, from 1, of the innermost part of a place, keys and positions from the outside, that is there."""
        line, node = 1, self.root
        for part in place:
            if isinstance(node, MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = (node.value[part], node.value[part])
            else:
                found = None
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line


def parse(text: str) -> Document:
    """Read a text.

    Raises:
        NotYAMLError: It cannot be read, sets a field twice, or is nested too deeply.
    """
    yaml = _yaml()
    try:
        root = yaml.compose(text)
        return Document(None if root is None else yaml.constructor.construct_document(root), root)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotYAMLError(f"{where}{', '.join(filter(None, (error.context, error.problem)))}") from error
    except YAMLError as error:
        raise NotYAMLError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise NotYAMLError("it is nested too deeply") from error
    except Exception as error:  # of a constructor that was asked for by a tag, as in `!!bool maybe`
        raise NotYAMLError(f"a value is not what its tag says: {type(error).__name__}: {error}") from error


def dump(value: Any) -> str:
    """Write a value of JSON's types so that `parse` reads it again; mappings keep their order."""
    text = io.StringIO()
    _yaml().dump(value, text)
    return text.getvalue()


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.resolver.add_implicit_resolver("tag:yaml.org,2002:bool", _ANSWERS, list("yYnNoO"))
    yaml.resolver.add_implicit_resolver("tag:yaml.org,2002:float", _FRACTION, list("-+."))
    return yaml
