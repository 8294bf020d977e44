"""Policies that are made once and kept: sealed folders in the cache, made anew where they are damaged."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError

from gdpo_bench.agent.policy import Policy
from gdpo_bench.core.files import WriteError, remove, sync_folder
from gdpo_bench.core.processor import arithmetic, cpu_info
from gdpo_bench.core.sealed import damage, part_name, remove_leftovers, seal


def cache_root(kind: str) -> Path:
    """Where policies of a kind are kept."""
    return Path(os.environ.get("GDPO_BENCH_CACHE") or user_cache_path("gdpo-bench")) / kind


def what_computes(device: str) -> dict[str, Any]:
    """What decides the last bits of a training beside its options and data, for a key of the cache."""
    return {
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "tokenizers")},
        "arithmetic": [torch.backends.cpu.get_cpu_capability(), arithmetic(), dict(cpu_info())]
        if device == "cpu"
        else device,
    }


def cached(kind: str, key: str, what: str, origin: dict[str, Any], make: Callable[[], Policy]) -> Path:
    """A policy's folder in the cache, as it lies there or made now.

    Args:
        kind: Name of the folder that holds policies of its kind.
        key: Hash of everything that decides what the policy is.
        what: The policy in a few words, for messages.
        origin: What it was made from; kept beside it, in `{kind}.json`.
        make: Makes it.

    Returns:
        The folder; `Policy.load` reads it.

    Raises:
        WriteError: The cache cannot be written to.
    """
    root = cache_root(kind)
    folder = root / key
    wrong = damage(folder) if os.path.lexists(folder) else ""
    if wrong:
        print(f"{what[0].upper()}{what[1:]} {folder} is damaged ({wrong}); it is made anew.", file=sys.stderr)
    if wrong is not None:
        try:
            root.mkdir(parents=True, exist_ok=True)  # before it is made, which takes longer
            remove_leftovers(root)
            _save(make(), {f"{kind}.json": origin}, folder)
        except (OSError, SafetensorError) as error:
            raise WriteError(
                f"Cannot keep {what} in {root}: {error}. Name another folder with GDPO_BENCH_CACHE."
            ) from error
    return folder


def _save(policy: Policy, notes: dict[str, Any], folder: Path) -> None:
    """The whole folder or nothing."""
    part = folder.parent / part_name(folder.name)
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        policy.model.save_pretrained(part)
        policy.tokenizer.save_pretrained(part)
        for name, content in notes.items():
            (part / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
        seal(part)
        if damage(folder) is not None:
            remove(folder)
        try:
            part.rename(folder)
        except OSError:  # another process finished first, with the same content
            if damage(folder) is not None:
                raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
