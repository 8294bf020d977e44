"""An entry run again from what it holds, and its numbers compared.

With the same pinned arithmetic and versions the numbers must be the same. Elsewhere the `advantage` track must
agree to 1e-9, and a training run, which amplifies the last bits, must end within the entry's own intervals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gdpo_bench.core.intervals import mean_interval
from gdpo_bench.core.measurements import RewardVectors
from gdpo_bench.leaderboard.compare.board import flatten
from gdpo_bench.leaderboard.compare.statistics import estimate
from gdpo_bench.leaderboard.files.attestation import Criterion
from gdpo_bench.leaderboard.files.provenance import PACKAGES
from gdpo_bench.leaderboard.files.schema import PolicyConfig, Provenance, Seed, SeedResult
from gdpo_bench.leaderboard.files.store import Measured
from gdpo_bench.leaderboard.files.verification import TOLERANCE

_CHOOSES = re.compile(r"avx|fma|f16c|amx")
"""Beginnings of flags that name instructions for sums and products."""


@dataclass(frozen=True)
class Row:
    """One reward, over the seeds that were run again."""

    reward: str
    recorded: float
    """Mean of the final values in the entry."""
    found: float
    """Mean of the final values now."""
    largest: float
    """Largest difference between final values of a seed."""
    allowed: float | None
    """How far `found` may lie from the mean over all of the entry's seeds; `None` where numbers must be equal."""
    holds: bool


@dataclass(frozen=True)
class Reproduction:
    """What came of running an entry again."""

    seeds: list[Seed | None]
    """Those that were run again."""
    rows: list[Row]
    required: Criterion
    """What the numbers were held to here."""
    reached: Criterion | None
    """The strictest criterion that they fulfil; `None` if not even the required one."""

    @property
    def succeeded(self) -> bool:
        """Whether the entry was reproduced."""
        return self.reached is not None


def differing_conditions(then: Provenance, here: Provenance) -> list[str]:
    """What is not as it was, of what numbers may depend on, a sentence each."""
    names = [*PACKAGES, "python", "gdpo_bench"]
    found = [
        f"{name}: {then.versions.get(name, 'absent')} then, {here.versions.get(name, 'absent')} here"
        for name in names
        if then.versions.get(name) != here.versions.get(name)
    ]
    for name, one, other in (
        ("CPU", then.hardware.cpu, here.hardware.cpu),
        ("GPU", then.hardware.gpu, here.hardware.gpu),
        ("commit", then.git_sha, here.git_sha),
        ("installed packages", then.lock_hash, here.lock_hash),
    ):
        if one != other and one is not None:
            found.append(f"{name}: {one} then, {other or 'none'} here")
    found += _differing_processors(then.hardware.processor or {}, here.hardware.processor or {})
    if then.engine is not None and then.arithmetic is None:
        found.append("Arithmetic: this entry does not say which kernels computed it, so its last bits may differ here")
    return found


def _differing_processors(then: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
    """What `processor.cpu_info` tells apart behind one marketing name; of flags, those that kernels are chosen by."""
    for title, name in (("architecture", "machine"), ("CPU family", "cpu family"), ("CPU model", "model")):
        if name in then and name in here and then[name] != here[name]:
            yield f"{title}: {then[name]} then, {here[name]} here"
    if "flags" in then and "flags" in here:
        one, other = ({flag for flag in own["flags"].split() if _CHOOSES.match(flag)} for own in (then, here))
        for flags, where in ((one - other, "then and not here"), (other - one, "here and not then")):
            if flags:
                yield f"instructions {where}: {', '.join(sorted(flags))}"


def differing_arithmetic(then: Provenance, here: Provenance) -> list[str]:
    """Pins that decide the last bits and did not stand the same, as a run shows that was made here; a sentence each."""
    if then.arithmetic is None or here.arithmetic is None:
        return []
    one, other = then.arithmetic, here.arithmetic
    return [
        f"{name}: {one.get(name, 'not pinned')} then, {other.get(name, 'not pinned')} here; the last bits may differ"
        for name in sorted(one | other)
        if one.get(name) != other.get(name)
    ]


def differing_policies(then: PolicyConfig, here: PolicyConfig) -> list[str]:
    """What of the policy came out differently, such as the demonstrations that a seed's warm start imitated."""
    one, other = (dict(flatten(policy.details, "policy.")) for policy in (then, here))
    return [
        f"{name}: {one[name]} then, {other[name]} here" for name in one if name in other and one[name] != other[name]
    ]


def same_kind(then: Provenance, here: Provenance) -> bool:
    """Whether numbers must come out the same: on a CPU, with the same pinned arithmetic and versions.

    A CPU's name does not decide: machines of one name offer different instructions. Older entries do not say which
    arithmetic made them. Where kernels were not pinned, as for products in bfloat16, the processor has to be the same.
    """
    on_cpu = then.engine is None or then.engine.device == "cpu"
    versions = all(then.versions.get(name) == here.versions.get(name) for name in PACKAGES)
    if not (on_cpu and versions) or then.arithmetic is None or then.arithmetic != here.arithmetic:
        return False
    return "ATEN_CPU_CAPABILITY" in then.arithmetic or then.hardware.processor == here.hardware.processor


def compare_runs(measured: Measured, repeated: Measured) -> Reproduction:
    """Hold the numbers of a second run against an entry.

    Args:
        measured: The entry.
        repeated: What running it, or some of its seeds, gave now.
    """
    entry, again = measured.entry, repeated.entry
    recorded = {result.seed: result for result in entry.results}
    found = {result.seed: result for result in again.results}
    shared = [seed for seed in recorded if seed in found]
    required: Criterion = "1e-9" if entry.track == "advantage" else "within the interval"
    if same_kind(entry.provenance, again.provenance):
        required = "equal"
    reached: Criterion | None
    vectors = _shared_vectors(measured, repeated)
    if all(found[seed] == recorded[seed] for seed in shared) and all(a.as_json() == b.as_json() for a, b in vectors):
        reached = "equal"
    elif all(_close(found[seed], recorded[seed]) for seed in shared) and all(_same_advantages(*one) for one in vectors):
        reached = "1e-9"
    else:
        reached = "within the interval"
    rows = [_row(one.name, recorded, found, shared, reached) for one in entry.environment.rewards]
    order: tuple[Criterion, ...] = ("equal", "1e-9", "within the interval")
    fulfilled = order.index(reached) <= order.index(required) and all(row.holds for row in rows)
    if not fulfilled and required != "within the interval":
        rows = [replace(row, allowed=None, holds=row.largest <= _slack(required)) for row in rows]
    return Reproduction(shared, rows, required, reached if fulfilled else None)


def _slack(required: Criterion) -> float:
    return 0.0 if required == "equal" else TOLERANCE


def _row(
    name: str,
    recorded: Mapping[Seed | None, SeedResult],
    found: Mapping[Seed | None, SeedResult],
    shared: list[Seed | None],
    reached: Criterion,
) -> Row:
    then = {seed: result.rewards[name].final for seed, result in recorded.items()}
    now = {seed: found[seed].rewards[name].final for seed in shared}
    mean = sum(now.values()) / len(now)
    largest = max(abs(now[seed] - then[seed]) for seed in shared)
    same = sum(then[seed] for seed in shared) / len(shared)
    if reached != "within the interval":
        return Row(name, same, mean, largest, None, True)
    allowed = max(_allowed(then, len(shared)), TOLERANCE)
    middle = estimate(then).mean
    return Row(name, same, mean, largest, allowed, abs(mean - middle) <= allowed)


def _allowed(finals: Mapping[Seed | None, float], runs: int) -> float:
    """Half the width of the interval of a mean over so many runs.

    Where all runs began from one warm start, its seeds count: it is the same one when they are run again.
    """
    interval = estimate(finals).interval or mean_interval(list(finals.values()))
    return (interval.high - interval.low) / 2 * math.sqrt(len(finals) / runs) if interval else 0.0


def _shared_vectors(measured: Measured, repeated: Measured) -> list[tuple[RewardVectors, RewardVectors]]:
    """Evaluations of the seeds that both ran; none for an entry of format 1."""
    if measured.sidecar is None or repeated.sidecar is None:
        return []
    found = {run.seed: run.evaluations for run in repeated.sidecar.runs}
    runs = [run for run in measured.sidecar.runs if run.seed in found]
    return [pair for run in runs for pair in zip(run.evaluations, found[run.seed], strict=False)]


def _same_advantages(one: RewardVectors, other: RewardVectors) -> bool:
    if one.advantages is None or other.advantages is None:
        return one.advantages is other.advantages
    same_rows = one.advantages.shape == other.advantages.shape
    return same_rows and np.allclose(one.advantages, other.advantages, rtol=TOLERANCE, atol=TOLERANCE)


def _close(one: SeedResult, other: SeedResult) -> bool:
    first, second = (_numbers(result) for result in (one, other))
    return first.keys() == second.keys() and all(
        math.isclose(first[name], second[name], rel_tol=TOLERANCE, abs_tol=TOLERANCE) for name in first
    )


def _numbers(result: SeedResult) -> dict[str, float]:
    curves = [*result.rewards.items(), *result.metrics.items()]
    numbers = {f"{name} {i}": value for name, curve in curves for i, value in enumerate(curve.curve)}
    return numbers | dict(result.diagnostics) | {f"applicable {name}": x for name, x in result.applicable_share.items()}
