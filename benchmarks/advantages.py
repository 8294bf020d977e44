"""How long advantages take: ours against verl's shipped function and TRL's formula.

    python benchmarks/advantages.py --markdown docs/performance.md

All contenders of a row run in turns, in one process, so that whatever else the machine does meets
all of them; ratios are taken within a turn. Seconds are of CPU: a call that lasts longer than a time
slice would else be charged with the programs that run in between. verl is measured where it is
installed and up to 65k rollouts: beyond that one call takes minutes. TRL's formula (what its trainer
does to the matrix of rewards, written down here) exists for even groups only; beside uneven ones it
is timed on as many rollouts in even groups. `floor` is the time to read the rewards once.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from measuring import measured_on, report, resident_bytes
from torch import Tensor

from gdpo_bench.advantages import compute_advantages, make_normalizer
from gdpo_bench.conformance import CLAIMED
from gdpo_bench.core import RewardSpec

GROUP = 8
SECONDS_A_ROW = 2.0
SHAPES = ["256x3", "1024x3", "2048x8", "16384x8", "65536x2", "65536x8", "1048576x8"]


def trl_formula(rewards: Tensor) -> Tensor:
    """`normalize_then_sum` on even groups side by side, NaN-aware as in TRL."""
    groups = rewards.view(-1, GROUP, rewards.shape[1])
    mean = groups.nanmean(dim=1, keepdim=True)
    standardized = ((groups - mean) / (nan_std(groups, 1) + 1e-4)).view_as(rewards)
    total = (standardized * torch.ones(rewards.shape[1])).nansum(dim=1)
    return (total - total.nanmean()) / (nan_std(total, 0) + 1e-4)


def nan_std(values: Tensor, dim: int) -> Tensor:
    """Sample standard deviation of what is not NaN."""
    present = (~values.isnan()).sum(dim=dim, keepdim=True)
    variance = (values - values.nanmean(dim=dim, keepdim=True)).square().nanmean(dim=dim, keepdim=True)
    return (variance * present / (present - 1)).sqrt()


def verl_function() -> Callable[[Tensor, Tensor], Tensor] | None:
    """verl's GDPO on responses of one token, if verl is installed."""
    try:
        from gdpo_bench.conformance.peers import verl  # noqa: PLC0415
    except ImportError:
        return None

    def call(rewards: Tensor, groups: Tensor) -> Tensor:
        n, k = rewards.shape
        return verl.gdpo(rewards, groups, torch.ones(k), torch.ones(n, dtype=torch.long), None)

    return call


def make_input(n: int, k: int, even: bool) -> tuple[Tensor, Tensor]:
    """Binary float32 rewards (n, k) and group ids (n,): blocks of 8, or shuffled groups of 4 to 12."""
    rng = torch.Generator().manual_seed(n + k)
    rewards = torch.randint(0, 2, (n, k), generator=rng).float()
    if even:
        return rewards, torch.arange(n) // GROUP
    sizes = torch.randint(4, 13, (n // 4,), generator=rng)
    groups = torch.repeat_interleave(sizes)[:n]
    return rewards, groups[torch.randperm(n, generator=rng)]


def seconds(function: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(n: int, k: int, even: bool, verl: Callable[[Tensor, Tensor], Tensor] | None) -> dict[str, list[float]]:
    """Durations of each contender, one a turn."""
    rewards, groups = make_input(n, k, even)
    float64 = rewards.double()
    gdpo = make_normalizer("gdpo")
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: compute_advantages(gdpo, rewards, groups),
        "floor": float64.sum,
    }
    side_by_side, _ = make_input(n, k, even=True)
    contenders["TRL"] = lambda: trl_formula(side_by_side)
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for function in contenders.values():
        function()  # warm up
    started = time.perf_counter()
    while len(turns["ours"]) < 5 or (time.perf_counter() - started < SECONDS_A_ROW and len(turns["ours"]) < 2000):
        for name, function in contenders.items():
            turns[name].append(seconds(function))
    if verl is not None and n <= 65_536:
        for turn in range(2):
            turns.setdefault("verl", []).append(seconds(lambda: verl(rewards, groups)))
            turns["ours"][turn] = seconds(contenders["ours"])
    return turns


def ratio(turns: dict[str, list[float]], name: str) -> str:
    """Median and quartiles of a contender's duration over ours, turn by turn."""
    if name not in turns:
        return "–"
    ratios = sorted(theirs / ours for theirs, ours in zip(turns[name], turns["ours"], strict=False))
    low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
    middle, low, high = (f"{x:,.0f}" if x >= 1000 else f"{x:.3g}" for x in (statistics.median(ratios), low, high))
    return f"{middle} ({low}–{high})"


def estimators_table(n: int) -> Iterator[str]:
    """CPU time of every estimator beside gdpo's, in turns, at n × 3; medians of ratios."""
    yield f"| estimator, {n:,} × 3 | even groups / `gdpo` | uneven groups / `gdpo` |"
    yield "|---|---:|---:|"
    specs = [RewardSpec(name, 0, 1) for name in ("a", "b", "c")]
    for name, options in CLAIMED.items():
        cells = []
        for even in (True, False):
            rewards, groups = make_input(n, 3, even)
            lengths = torch.ones(n)
            pair = [make_normalizer("gdpo"), make_normalizer(name, **options)]
            ratios = []
            for _ in range(100 if n < 10_000 else 1):
                spent = []
                for normalizer in pair:
                    start = time.process_time()
                    compute_advantages(normalizer, rewards, groups, specs=specs, lengths=lengths)
                    spent.append(time.process_time() - start)
                ratios.append(spent[1] / spent[0])
            cells.append(f"{statistics.median(ratios):.2f}")
        yield f"| `{name}` | " + " | ".join(cells) + " |"


def peak_memory(n: int, k: int) -> float:
    """Peak memory of a call, input included, in units of a float64 input; in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (n, k))


def _peak_memory(n: int, k: int) -> float:
    compute_advantages("gdpo", *make_input(1024, k, True))
    rewards, groups = make_input(n, k, True)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is in use now (Linux)
    before = resident_bytes("VmHWM")
    compute_advantages("gdpo", rewards, groups)
    return (resident_bytes("VmHWM") - before + rewards.nbytes) / (n * k * 8)


def frameworks_table(shapes: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Times of a call beside those of TRL's formula and of verl, for each shape; and the largest one's memory."""
    verl = verl_function()
    yield "| rollouts | rewards | groups | ours, ms | × floor | TRL's formula / ours | verl / ours |"
    yield "|---:|---:|---|---:|---:|---:|---:|"
    for (n, k), even in itertools.product(shapes, (True, False)):
        turns = measure(n, k, even, verl)
        ours, floor = statistics.median(turns["ours"]), statistics.median(turns["floor"])
        cells = [f"{n:,}", f"{k}", "even" if even else "uneven, shuffled", f"{1e3 * ours:.2f}"]
        cells += [f"{ours / floor:.0f}", ratio(turns, "TRL"), ratio(turns, "verl")]
        yield "| " + " | ".join(cells) + " |"
    n, k = max(shapes)
    yield ""
    yield f"Peak memory at {n:,} × {k}: {peak_memory(n, k):.1f} times a float64 input, input included."


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the table into this file's generated section")
    parser.add_argument(
        "--shapes", nargs="+", default=SHAPES, metavar="NxK", help=f"rollouts by rewards; by default {' '.join(SHAPES)}"
    )
    parser.add_argument("--estimators", type=int, metavar="N", help="instead: every estimator beside gdpo, N rollouts")
    options = parser.parse_args()
    if options.estimators:
        lines, section = estimators_table(options.estimators), f"estimators-{options.estimators}"
    else:
        lines = frameworks_table([(int(n), int(k)) for n, _, k in (shape.partition("x") for shape in options.shapes)])
        section = "table"
    torch_version = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    report(itertools.chain([f"{measured_on(torch_version)}.", ""], lines), section, options.markdown)


if __name__ == "__main__":
    main()
