"""Run a design on all cores; what is finished is kept, so that an interrupted simulation goes on."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gdpo_bench.core.errors import DataError, GdpoBenchError
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.processor import arithmetic_pins, usable_cores
from gdpo_bench.core.task import canonical_json
from gdpo_bench.worlds.factorial import Factorial, Run, runs
from gdpo_bench.worlds.twin import train
from gdpo_bench.worlds.world import make_world

_AT_ONCE = 20
"""Runs that a worker is given together, about half a second's."""

Progress = Callable[[int, int], None]
"""Called with the number of finished runs, and of all."""


@dataclass(frozen=True)
class Row:
    """What one run came to."""

    levels: dict[str, Any]
    """Factor → level."""
    normalizer: str
    """As the design names it, options included."""
    learning_rate: float
    seed: int
    all_right: float
    """Share of replies that do all that is asked, at the end."""
    area: float
    """Its mean over training."""
    right: dict[str, float]
    """Reward → share of replies that do what it asks for, at the end."""
    mean: dict[str, float]
    """Reward → its mean at the end."""


def simulate(
    design: Factorial,
    folder: Path,
    workers: int | None = None,
    progress: Progress = lambda finished, of: None,
) -> tuple[list[Row], list[str]]:
    """Run what of a design is not in its folder yet.

    Args:
        design: What to run.
        folder: Keeps `runs.jsonl`, a line a run in the design's order, and `design.json`.
        workers: Processes, pinned to one kind of arithmetic; by default one for each usable core. 0: in this process.
        progress: Told how far it is.

    Returns:
        All rows in the design's order, the same whatever the number of workers and interruptions; and which normalizers
        take no part where.

    Raises:
        GdpoBenchError: The design cannot be run, the folder belongs to another, or a process died.
    """
    planned, left_out = runs(design)
    file = folder / "runs.jsonl"
    rows = _kept(design, folder, file)
    progress(len(rows), len(planned))
    with file.open("a", encoding="utf-8") as out:
        for batch in _map(_run_all, _chunks(planned[len(rows) :]), usable_cores() if workers is None else workers):
            out.writelines(canonical_json(vars(row)) + "\n" for row in batch)
            out.flush()
            rows += batch
            progress(len(rows), len(planned))
    return rows, left_out


def _kept(design: Factorial, folder: Path, file: Path) -> list[Row]:
    """Rows of an earlier start of the same design; a last line that was cut off is dropped."""
    manifest = folder / "design.json"
    text = json.dumps({"key": design.key, **design.model_dump(mode="json")}, indent=1) + "\n"
    if not manifest.exists():
        write_atomically(manifest, text)
        write_atomically(file, "")
        return []
    if manifest.read_text(encoding="utf-8") != text:
        raise DataError(f"{folder} holds the runs of another design; name another folder.")
    try:
        *lines, _ = file.read_text(encoding="utf-8").split("\n")
        rows = [Row(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); delete {folder} and start again.") from error
    write_atomically(file, "".join(line + "\n" for line in lines))
    return rows


def _chunks(planned: Sequence[Run]) -> list[Sequence[Run]]:
    return [planned[i : i + _AT_ONCE] for i in range(0, len(planned), _AT_ONCE)]


def _run_all(batch: Sequence[Run]) -> list[Row]:
    return [_run(run) for run in batch]


def _run(run: Run) -> Row:
    world = make_world(run.cell.world.name, run.cell.world.options)
    weights = run.cell.weights(run.normalizer, world.specs)
    done = train(
        world,
        run.normalizer.make(),
        weights,
        learning_rate=run.learning_rate,
        seed=run.randomness,
        options=run.cell.training,
    )
    if not math.isfinite(done.all_right):
        raise GdpoBenchError(
            f"{run.normalizer.label} diverged at {run.cell.levels}, learning rate {run.learning_rate}."
        )
    return Row(run.cell.levels, run.normalizer.label, run.learning_rate, run.seed, **vars(done))


def _map(
    function: Callable[[Sequence[Run]], list[Row]], chunks: Sequence[Sequence[Run]], workers: int
) -> Iterator[list[Row]]:
    """The chunks' rows in their order."""
    if not workers or not chunks:
        yield from map(function, chunks)
        return
    context = multiprocessing.get_context("spawn")
    with _pinned(), ProcessPoolExecutor(min(workers, len(chunks)), context, _prepare) as pool:
        try:
            yield from pool.map(function, chunks)
        except BrokenProcessPool as error:
            raise GdpoBenchError(
                "A worker process died; is the machine out of memory? What is finished is kept: start again."
            ) from error


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    torch.set_num_threads(1)


@contextmanager
def _pinned() -> Iterator[None]:
    """Processes that start meanwhile compute as training does."""
    before = dict(os.environ)
    os.environ.update(arithmetic_pins())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
