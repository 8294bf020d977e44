"""Normalizers that a file of somebody else names: what is registered here, and what is code to be asked for first."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

from gdpo_bench.advantages.registry import list_normalizers
from gdpo_bench.core.errors import RegistrationError

FOREIGN_FIELDS = ("implementation", "source_sha256")
"""What an entry says of code that is not ours, beside its options."""


def check_origin(name: str, recorded: Mapping[str, Any], allow_code: bool) -> None:
    """Refuse to import what a file names, unless it was asked for and is what the file says; imports nothing.

    Args:
        name: The normalizer's name in the file.
        recorded: Its options there, with `implementation` and `source_sha256` of code that is not ours.
        allow_code: Whether the reader asked for code that is not registered here.

    Raises:
        RegistrationError: The name is not registered and code was not asked for; or the source here is not the
            recorded one, or cannot be compared with it.
    """
    if name in list_normalizers():
        return
    if not allow_code:
        raise RegistrationError(
            f"normalizer.name is {name!r}, which is not registered here; nothing was imported. If it is a "
            "module:function that you trust, read it and say --allow-code."
        )
    implementation, expected = (recorded.get(field) for field in FOREIGN_FIELDS)
    if not isinstance(implementation, str) or not isinstance(expected, str):
        raise RegistrationError(
            f"normalizer.name is {name!r}, and no source_sha256 says what its source was; nothing was imported."
        )
    module, _, thing = implementation.partition(":")
    if module.partition(".")[0] != name.partition(":")[0].partition(".")[0]:
        raise RegistrationError(
            f"normalizer.name is {name!r}, but its implementation is said to be {implementation!r}, in another "
            "package; nothing was imported."
        )
    found = _source_sha256(module, thing)
    if found != expected:
        here = "not here as Python source" if found is None else f"another one here (SHA-256 {found[:16]}…)"
        raise RegistrationError(
            f"The source of {implementation!r} with SHA-256 {expected[:16]}… is {here}; nothing was imported. Check "
            "out the commit that made the entry."
        )


def _source_sha256(module: str, thing: str) -> str | None:
    """Hash of the source of a module's function or class, which `registry.normalizer_options` gives once imported."""
    file = _file_of(module)
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8")
        tree: Any = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    for part in thing.split("."):
        named = (node for node in tree.body if getattr(node, "name", None) == part)
        tree = next(named, None)
        if not isinstance(tree, ast.FunctionDef | ast.ClassDef):
            return None
    first = min(node.lineno for node in (tree, *tree.decorator_list))
    lines = inspect.getblock(text.splitlines(keepends=True)[first - 1 :])
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_of(module: str) -> Path | None:
    """The file that importing a module would run, found without running its packages."""
    places: list[str] | None = ["", *sys.path]
    loader: Any = None
    for end in range(1, module.count(".") + 2):
        spec = PathFinder.find_spec(".".join(module.split(".")[:end]), places)
        if spec is None:
            return None
        loader, places = spec.loader, list(spec.submodule_search_locations or [])
    return Path(loader.path) if isinstance(loader, SourceFileLoader) else None
