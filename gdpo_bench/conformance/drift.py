"""What moved: the code that frameworks ship today against our newest presets, on thousands of batches.

    python -m gdpo_bench.conformance.drift trl

`tox -e drift` installs the newest release of each framework and runs this. Exit status 1 if a number moved: then a
preset under a new name is due, and the old one stays.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from gdpo_bench.advantages import DomainError, compute_advantages, make_normalizer
from gdpo_bench.conformance.peers.batches import Batch, draw_batches, tolerance
from gdpo_bench.core.errors import GdpoBenchError


@dataclass(frozen=True)
class Framework:
    """A framework whose shipped code can be called."""

    package: str
    """As it is installed."""
    preset: str
    estimators: tuple[str, ...]
    """Our names, which are those of functions in `conformance.peers`."""
    even: bool
    """Whether it needs groups of one size."""


FRAMEWORKS = {
    "trl": Framework("trl", "trl", ("gdpo", "grpo", "grpo_no_std", "grpo_batch_std"), even=True),
    "verl": Framework("verl", "verl", ("gdpo", "grpo", "grpo_no_std", "rloo", "opo"), even=False),
    "swift": Framework("ms-swift", "ms-swift", ("gdpo", "grpo", "grpo_no_std", "grpo_batch_std", "rloo"), even=True),
    "axolotl": Framework("axolotl", "axolotl-streaming", ("gdpo", "grpo", "grpo_no_std"), even=True),
}


@dataclass(frozen=True)
class Drift:
    """What comparing one estimator with a framework's came to."""

    estimator: str
    batches: int
    moved: int
    """Batches on which the two differ by more than rounding can make them."""
    largest: float
    """The largest difference, beside the batch's largest advantage or 1."""
    example: str = ""
    """The smallest batch on which they differ, with both."""

    def __str__(self) -> str:
        """A line, and the example below it."""
        verdict = f"MOVED on {self.moved:,}" if self.moved else "unchanged"
        line = f"  {self.estimator:<16} {verdict} of {self.batches:,} batches; largest difference {self.largest:.1e}"
        return f"{line}\n{self.example}".rstrip()


def compare(framework: Framework, peer: Callable[..., torch.Tensor], estimator: str, count: int) -> Drift:
    """Hold a preset against a framework's own function.

    Args:
        framework: Whose.
        peer: The function, see `conformance.peers`.
        estimator: Our name.
        count: How many batches.
    """
    normalizer = make_normalizer(estimator, preset=framework.preset)
    moved, largest, smallest = 0, 0.0, (sys.maxsize, "")
    for batch in draw_batches(count, even=framework.even):
        theirs = peer(**_arguments(peer, batch)).double()
        ours = compute_advantages(
            normalizer, batch.rewards, batch.groups, weights=batch.weights, lengths=batch.lengths
        ).double()
        difference = (ours - theirs).abs().max().item() / max(1.0, theirs.abs().max().item())
        largest = max(largest, difference)
        if not difference <= tolerance(batch):  # the negation, so that NaN has moved
            moved += 1
            if len(batch.groups) < smallest[0]:
                told = f"    {batch}\n    theirs {theirs.tolist()}\n    ours   {ours.tolist()}"
                smallest = len(batch.groups), told
    return Drift(estimator, count, moved, largest, smallest[1])


def _arguments(peer: Callable[..., Any], batch: Batch) -> dict[str, Any]:
    """Those of a batch's parts that a function takes."""
    known = {**batch._asdict(), "applicable": None}
    return {name: known[name] for name in inspect.signature(peer).parameters}


def report(name: str, count: int) -> bool:
    """Compare everything that a framework ships, and print it; returns whether anything moved.

    Raises:
        GdpoBenchError: The framework is not installed, or its code is not where it was.
    """
    framework = FRAMEWORKS[name]
    try:
        version = metadata.version(framework.package)
        peers = importlib.import_module(f"gdpo_bench.conformance.peers.{name}")
    except (ImportError, AttributeError) as error:
        raise GdpoBenchError(f"The code of {name} cannot be called, not installed or moved: {error}") from error
    print(f"{name} {version} against the preset {framework.preset!r}:", flush=True)
    found = []
    for estimator in framework.estimators:
        try:
            found.append(compare(framework, getattr(peers, estimator), estimator, count))
        except (AttributeError, KeyError, TypeError, DomainError) as error:
            print(f"  {estimator:<16} CANNOT BE CALLED: {type(error).__name__}: {error}", flush=True)
            found.append(Drift(estimator, 0, 1, float("nan")))
            continue
        print(found[-1], flush=True)
    return any(one.moved for one in found)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if nothing moved, 1 if something did, 2 if a framework cannot be called."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frameworks", nargs="+", choices=FRAMEWORKS)
    parser.add_argument("--batches", type=int, default=2000, help="for each estimator")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        moved = [report(name, options.batches) for name in options.frameworks]
    except GdpoBenchError as error:
        print(error, file=sys.stderr)
        return 2
    return int(any(moved))


if __name__ == "__main__":
    sys.exit(main())
