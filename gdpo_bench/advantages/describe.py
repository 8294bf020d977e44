"""What is known of a normalizer, as text: a line for the list, and a page."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gdpo_bench.advantages.presets import PRESETS
from gdpo_bench.advantages.registry import list_normalizers, normalizer_code
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.text import unwrapped


def listed() -> Table:
    """A line for each normalizer: its name, what it is, the options that the name sets."""
    table = Table("name", "what", "sets", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in list_normalizers():
        try:
            code, preset = normalizer_code(name)
            what = _first_sentence(code)
        except GdpoBenchError as error:
            what, preset = f"cannot be loaded: {error!s:.100}", {}
        table.add_row(name, escape(what), escape(_assigned(preset)))
    return table


def explained(name: str) -> RenderableType:
    """All that is known of a normalizer.

    Args:
        name: A registered name, or `module:thing`.

    Raises:
        GdpoBenchError: There is no such normalizer, or it cannot be loaded.
    """
    code, preset = normalizer_code(name)
    module = sys.modules[code.__module__]
    having = [framework for framework, estimators in PRESETS.items() if getattr(code, "__name__", "") in estimators]
    return Group(
        Text(f"{name}  ({code.__module__}:{code.__qualname__})", style="bold"),
        Text(f"\n{unwrapped(inspect.getdoc(code) or '(no docstring)')}"),
        *([Text(f"\n{unwrapped(module.__doc__.strip())}")] if module.__doc__ else []),
        Text(),
        _options(code, preset),
        *([Text(f"\nPresets, as {name}:preset={having[0]}: {', '.join(having)}")] if having else []),
    )


def _options(code: Callable[..., Any], preset: dict[str, Any]) -> RenderableType:
    if not (isinstance(code, type) and dataclasses.is_dataclass(code)):
        return Text("No options.")
    fields = [field for field in dataclasses.fields(code) if field.init]
    if not fields:
        return Text("No options.")
    says = _sentences(code)
    table = Table("option", "value", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for field in fields:
        default = "required" if field.default is dataclasses.MISSING else repr(field.default)
        value = f"{preset[field.name]!r} (elsewhere {default})" if field.name in preset else default
        table.add_row(field.name, escape(value), escape(says.get(field.name, "")))
    return table


def _sentences(cls: type) -> dict[str, str]:
    """Field → the sentence under it, those of base classes too; nothing where there is no source text."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            parsed = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):
            continue
        for field, below in pairwise(getattr(parsed, "body", [])):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _first_sentence(code: Any) -> str:
    text = " ".join((inspect.getdoc(code) or "(no docstring)").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "."


def _assigned(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
