"""`gdpo-bench simulate`: factorial designs on the tabular twin. Torch is imported only when it runs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import tyro

from gdpo_bench.cli.exits import interruptible
from gdpo_bench.cli.terminal import make_console
from gdpo_bench.core.choices import parse_assignment, parse_assignments, split_words
from gdpo_bench.core.processor import arithmetic_pins


def simulate(
    design: Annotated[str | None, tyro.conf.Positional] = None,
    /,
    *,
    world: str | None = None,
    factors: tuple[str, ...] = (),
    normalizers: tuple[str, ...] = (),
    learning_rates: tuple[float, ...] = (),
    seeds: int | None = None,
    first_seed: int | None = None,
    training: tuple[str, ...] = (),
    front: bool = False,
    workers: int | None = None,
    out: Path = Path("simulations"),
) -> None:
    """Train a tabular policy on designed rewards.

    Args:
        design: A design file (YAML), or a bundled one: main, conflict, correlation, front, estimators. Options given
            here replace its own. The same design goes on where it was interrupted.
        world: bits or tradeoff, with options that hold everywhere: bits:rarity=0.01,noise=0.1.
        factors: Levels of options of the world, of the training, or of weight: conflict=0,0.05,0.1 rewards=2,4.
        normalizers: Names, with options: gdpo:eps=1e-4, or module:function of your own.
        learning_rates: Of Adam.
        seeds: Runs of each cell, normalizer and learning rate.
        first_seed: Seeds count from here.
        training: How the twin is trained, everywhere: steps=120 group_size=4.
        front: Tell how near the runs come to the Pareto front, over the levels of weight.
        workers: Processes; by default one for each core. 0: in this process.
        out: Folder for the designs' folders.
    """
    os.environ.update(arithmetic_pins())
    from gdpo_bench.worlds.factorial import Factorial  # noqa: PLC0415 (imports torch, which must find the pins)
    from gdpo_bench.worlds.report import write_report  # noqa: PLC0415
    from gdpo_bench.worlds.simulate import simulate as run_design  # noqa: PLC0415

    values = Factorial.load(design) if design is not None else {}
    given = {
        "world": world,
        "normalizers": split_words(normalizers) or None,
        "learning_rates": learning_rates or None,
        "seeds": seeds,
        "first_seed": first_seed,
        "front": front or None,
    }
    values |= {name: value for name, value in given.items() if value is not None}
    if factors:
        values["factors"] = dict(map(_levels, factors))
    if training:
        values["training"] = values.get("training", {}) | parse_assignments(training)
    chosen = Factorial.check(values)
    folder = out / f"{Path(design).stem if design else 'design'}-{chosen.key}"
    console = make_console()
    going_on = interruptible(f"What is finished is kept in {folder}. The same command goes on.")
    with going_on, console.status("") as status:
        rows, left_out = run_design(
            chosen, folder, workers, lambda finished, of: status.update(f"{finished} of {of} runs")
        )
    for text in left_out:
        console.print(text, markup=False)
    for table in write_report(chosen, rows, left_out, folder):
        console.print(table)
    console.print(f"Runs, numbers and picture: {folder}", soft_wrap=True, markup=False)


def _levels(text: str) -> tuple[str, list[Any]]:
    """`factor=1,2` as a name and its levels."""
    name, levels = parse_assignment(re.sub(r"=\[?([^\]]*)\]?$", r"=[\1]", text, count=1))
    return name, levels
