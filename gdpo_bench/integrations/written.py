"""Folders that are written for another library: their names, and nothing overwritten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.integrations.errors import IntegrationError

_VERSION = re.compile(r"_v\d+$")
_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "{description}"
dependencies = ["gdpo-bench", "{pinned}"]
"""


def module_name(env_id: str) -> str:
    """What Python can import: `gdpo_mathmini_v1` of `gdpo/MathMini-v1`."""
    return re.sub(r"\W+", "_", env_id).strip("_").lower()


def project_name(env_id: str) -> str:
    """What pip calls it: `gdpo-mathmini-v1` of `gdpo/MathMini-v1`."""
    return module_name(env_id).replace("_", "-")


def project_text(name: str, description: str, pinned: str) -> str:
    """The beginning of a `pyproject.toml`, up to what is packed.

    Args:
        name: Of the project.
        description: In a line.
        pinned: The other library, with its version.
    """
    return _PROJECT.format(name=name, description=description, pinned=pinned)


def class_name(env_id: str) -> str:
    """`MathMini` of `gdpo/MathMini-v1`."""
    name = re.sub(r"\W+", "_", env_id.rpartition("/")[2] or env_id)
    return "".join(part[:1].upper() + part[1:] for part in _VERSION.sub("", name).split("_"))


def span(specs: tuple[RewardSpec, ...]) -> tuple[float, float]:
    """Range of the weighted sum, were every reward to apply and to be free of the others."""
    ends = [sorted((spec.weight * spec.low, spec.weight * spec.high)) for spec in specs]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def write_files(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files into a new folder.

    Args:
        folder: Where to; it may exist, if it is empty.
        texts: Path in the folder → what is to stand there.

    Returns:
        What was written.

    Raises:
        IntegrationError: There is something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise IntegrationError(f"{folder} exists and is not empty; name a new folder.")
    written = [folder / name for name in texts]
    for path, text in zip(written, texts.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return written
