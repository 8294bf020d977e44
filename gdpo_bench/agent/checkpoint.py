"""Checkpoints of a training run: written whole or not at all, checked when they are read.

A checkpoint is a folder `step-00000040/` with the trained weights, the optimizer's moments and the evaluations' reward
vectors as safetensors, and everything else as `state.json`, which also holds the hashes of the others, and its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gdpo_bench.agent.scale.processes import World
from gdpo_bench.agent.step import TrainingStep
from gdpo_bench.core import DataError
from gdpo_bench.core.files import WriteError, remove, sync_folder

_WEIGHTS, _MOMENTS = "weights.safetensors", "optimizer.safetensors"
_FORMAT = 5
"""2: with the reward vectors of the evaluations. 3: with the normalizer's state. 4: with its own hash.
5: with the run that it is of."""
_NAME = re.compile(r"step-[0-9]{8,18}")


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on as if it had never stopped."""

    step: int
    """Training steps done."""
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    """File → name → tensor."""
    state: dict[str, Any]
    """JSON."""


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int = 2, run: str = "") -> None:
        """Use a folder, which need not exist.

        Args:
            folder: Where the checkpoints lie.
            keep: How many to keep, the newest.
            run: Whose they are; those of another run are not taken.
        """
        self.folder, self.keep, self.run = folder, keep, run

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove those that are too many.

        Raises:
            WriteError: It cannot be written; the older ones are all still there.
        """
        folder = self.folder / f"step-{checkpoint.step:08d}"
        part = self.folder / f".{folder.name}.tmp"
        try:
            remove(part)  # of a process that was killed
            part.mkdir(parents=True)
            for file, tensors in checkpoint.tensors.items():
                save_file({name: value.contiguous() for name, value in tensors.items()}, part / file)
            state = {
                "format": _FORMAT,
                "run": self.run,
                "step": checkpoint.step,
                "sha256": {file: _sha256(part / file) for file in checkpoint.tensors},
                "state": checkpoint.state,
            }
            text = json.dumps(state)
            (part / "state.json").write_text(json.dumps({"sha256": _hash_of(text), "text": text}), encoding="utf-8")
            for path in part.iterdir():
                _flush(path)
            remove(folder)
            part.rename(folder)
            sync_folder(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise WriteError(f"Cannot write the checkpoint {folder}: {error}. Older ones are unchanged.") from error
        found = self._found()
        later = [path for path in found if _step_of(path) > checkpoint.step]  # damaged, or they had been taken
        kept = [path for path in found if path not in later][-self.keep :]
        for old in found:
            if old not in kept:
                with suppress(OSError):
                    remove(old)

    def newest(self) -> Checkpoint | None:
        """The last whole checkpoint, or None where there is none; damaged ones are passed over, with a word."""
        for folder in reversed(self._found()):
            try:
                return self._read(folder)
            except DataError as error:
                print(error, file=sys.stderr)
        return None

    def clear(self) -> None:
        """Remove all, when the run is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted((path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name)), key=_step_of)

    def _read(self, folder: Path) -> Checkpoint:
        try:
            outer = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            if _hash_of(outer["text"]) != outer["sha256"]:
                raise ValueError("state.json was changed")
            content = json.loads(outer["text"])
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']}, this version reads {_FORMAT}")
            if content["run"] != self.run:
                raise ValueError("it is of another run")
            if content["step"] != _step_of(folder):
                raise ValueError(f"it is of step {content['step']}")
            for file, expected in content["sha256"].items():
                if _sha256(folder / file) != expected:
                    raise ValueError(f"{file} was changed or cut off")
            tensors = {file: load_file(folder / file) for file in content["sha256"]}
            return Checkpoint(content["step"], tensors, content["state"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
            raise DataError(
                f"The checkpoint {folder} is damaged ({error}); the one before is taken, if any."
            ) from error


def snapshot_step(step: TrainingStep, world: World) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """What a training step needs to go on.

    All processes call this at the same time; the tensors are whole, and there for the first one.

    Args:
        step: What is trained.
        world: The processes.

    Returns:
        File → name → tensor, and the rest as JSON.
    """
    moments = {}
    for number, values in step.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            whole = step.weights.whole(value)
            if world.is_first:  # elsewhere they would only take up memory
                moments[f"{number}.{name}"] = whole
    return {_WEIGHTS: step.weights.named(), _MOMENTS: moments}, {"micro_batch": step.micro_batch}


def restore_step(step: TrainingStep, world: World, checkpoint: Checkpoint) -> None:
    """Take over what `snapshot_step` gave, in all processes at the same time.

    Args:
        step: Of the same policy.
        world: The processes.
        checkpoint: Its tensors are read in the first process only.

    Raises:
        DataError: The checkpoint is of another policy.
    """
    tensors = checkpoint.tensors
    trained = step.weights.named()
    shapes = world.broadcast(lambda: {name: value.shape for name, value in tensors[_WEIGHTS].items()})
    if shapes != {name: value.shape for name, value in trained.items()}:
        raise DataError("The checkpoint is of another policy than this run's; delete it to start anew.")
    step.weights.assign(lambda name: world.broadcast(lambda: tensors[_WEIGHTS][name]))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key in world.broadcast(lambda: list(tensors[_MOMENTS])):
        number, _, name = key.partition(".")
        value = world.broadcast(lambda key=key: tensors[_MOMENTS][key])  # type: ignore[misc]
        state.setdefault(int(number), {})[name] = step.weights.spread(value, int(number))
    step.optimizer.load_state_dict(step.optimizer.state_dict() | {"state": state})
    step.micro_batch = checkpoint.state["micro_batch"]


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
