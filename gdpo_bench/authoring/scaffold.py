"""`gdpo-bench new`: a package with an environment that works, for its author to change.

The templates are such packages themselves, of the id `acme/Sql-v0`; making one is copying it with
other names.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from gdpo_bench.core.errors import RegistrationError
from gdpo_bench.core.files import WriteError
from gdpo_bench.core.registry import list_envs

_ID = re.compile(r"(?P<namespace>[A-Za-z][A-Za-z0-9_-]*)/(?P<name>[A-Za-z][A-Za-z0-9_.]*)-v[0-9]+")
_TEXTS = {".md", ".py", ".toml"}
_PROJECT = "_pyproject.toml"
"""In the templates; under its right name it would be the configuration of tools that check our own code."""


def new_package(id: str, folder: Path | None = None, tools: bool = False) -> Path:
    """Write a package that declares an environment.

    Args:
        id: The environment's id, `namespace/Name-v0`.
        folder: Where to; by default a new folder here, named after the id.
        tools: Several turns with a tool, instead of one turn.

    Returns:
        The package's folder.

    Raises:
        RegistrationError: The id is malformed or taken, or its package would hide another module.
        WriteError: The folder is there already, or cannot be written.
    """
    names = _names(id)
    folder = Path(names["acme-sql"]) if folder is None else folder
    if folder.exists():
        raise WriteError(f"{folder} is there already; nothing was written. Name another folder with --folder.")
    template = resources.files("gdpo_bench.authoring") / "templates" / ("tools" if tools else "single")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The whole package or nothing, whatever interrupts us.
        with (
            tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as parent,
            resources.as_file(template) as source,
        ):
            made = shutil.copytree(
                source, Path(parent, folder.name), ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
            _rename(made, names)
            made.rename(folder)
    except OSError as error:
        raise WriteError(f"Cannot write {folder}: {error.strerror or error}.") from error
    return folder


def _names(id: str) -> dict[str, str]:
    """What the template's names become."""
    found = _ID.fullmatch(id)
    if found is None:
        raise RegistrationError(
            f"An environment id is 'namespace/Name-v0': one slash, letters, digits, and a version; got {id!r}."
        )
    if id in list_envs():
        raise RegistrationError(f"{id!r} is registered already; raise the version or choose another name.")
    name = found["name"].replace(".", "_")
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    package = re.sub(r"_+", "_", f"{found['namespace']}_{snake}".replace("-", "_")).strip("_").lower()
    if importlib.util.find_spec(package) is not None:
        raise RegistrationError(
            f"The package of {id!r} would be {package!r}, which exists already; choose another name."
        )
    stem = name[0].upper() + name[1:]
    if f"{stem}Env" in ("TextEnv", "DialogEnv"):  # which the package imports from us
        stem = f"My{stem}"
    return {"acme/Sql-v0": id, "acme-sql": package.replace("_", "-"), "acme_sql": package, "Sql": stem}


def _rename(folder: Path, names: dict[str, str]) -> None:
    pattern = re.compile("acme/Sql-v0|acme-sql|acme_sql|Sql(?=Env|Task)")
    for file in folder.rglob("*"):
        if file.suffix in _TEXTS:
            text = file.read_text(encoding="utf-8")
            file.write_text(pattern.sub(lambda found: names[found[0]], text), encoding="utf-8")
    (folder / "acme_sql").rename(folder / names["acme_sql"])
    (folder / _PROJECT).rename(folder / _PROJECT.removeprefix("_"))
