"""How many kinds of advantages a normalizer can tell apart: Figure 3 of the GDPO paper.

Take all multisets of G reward vectors of n binary rewards, compute each group's advantages by
themselves and before batch whitening, and count the different sorted tuples, rounded to 1e-4.
With ε = 0: at TRL's 1e-4 that rounding already splits levels which GRPO does not have. An estimator
whose advantages depend on the other groups of a batch has no such number, and is refused.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, islice, product
from pathlib import Path

import torch
from torch import Tensor

from gdpo_bench.advantages.batch import Normalizer
from gdpo_bench.advantages.compute import compute_advantages
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.registry import make_normalizer, normalizer_options, read_normalizer
from gdpo_bench.core.files import write_figure
from gdpo_bench.core.rewards import RewardSpec

ROUNDING = 1e-4
_GROUPS_AT_ONCE = 20_000


@dataclass(frozen=True)
class Panel:
    """One curve's worth of counts: a varying number against the kinds told apart."""

    title: str
    axis: str
    points: tuple[int, ...]
    counts: dict[str, tuple[int, ...]]
    """Normalizer → number of kinds at each point."""


def multisets(size: int, rewards: int) -> int:
    """Number of groups of `size` rollouts with `rewards` binary rewards each, order aside."""
    return math.comb(2**rewards + size - 1, size)


def count_kinds(normalizer: str | Normalizer, size: int, rewards: int) -> int:
    """Number of distinct sorted advantage tuples.

    Args:
        normalizer: A name, taken with ε = 0 where it has an ε; a name with options, or an instance, as it is.
            Without batch whitening where that is an option.
        size: G, rollouts of a group.
        rewards: n, binary rewards.

    Raises:
        DomainError: Its advantages depend on the other groups of the batch.
    """
    compute = _by_group(normalizer, size, rewards)
    vectors = torch.tensor(list(product((0.0, 1.0), repeat=rewards)), dtype=torch.float64)
    groups = combinations_with_replacement(range(len(vectors)), size)
    kinds: set[tuple[int, ...]] = set()
    while chunk := list(islice(groups, _GROUPS_AT_ONCE)):
        levels = (compute(vectors[torch.tensor(chunk)]).sort(dim=1).values / ROUNDING).round().long()
        kinds.update(map(tuple, torch.unique(levels, dim=0).tolist()))
    return len(kinds)


def _by_group(normalizer: str | Normalizer, size: int, rewards: int) -> Callable[[Tensor], Tensor]:
    """Advantages (P, G) of rewards (P, G, n) by a normalizer for which a group is the same in any batch."""
    weights, title = None, getattr(normalizer, "__qualname__", None) or repr(normalizer)
    if isinstance(normalizer, str):
        title, bare = normalizer, ":" not in normalizer
        normalizer, weights = read_normalizer(normalizer)
        if bare and "eps" in normalizer_options(normalizer):
            normalizer = make_normalizer(title, eps=0)
    if getattr(normalizer, "batch_norm", False) and dataclasses.is_dataclass(normalizer):
        normalizer = dataclasses.replace(normalizer, batch_norm=False)
    names = [f"reward_{i}" for i in range(rewards)]

    def compute(groups: Tensor) -> Tensor:
        return compute_advantages(
            copy.deepcopy(normalizer),  # what an estimator remembers of one batch is not for the next
            groups,
            specs=[RewardSpec(name, 0, 1) for name in names],
            weights=weights,
            lengths=torch.ones(groups.shape[:2]),
        )

    # All different, all equal, and half of them: enough for spreads and means of the batch to differ.
    vectors = torch.tensor(list(product((0.0, 1.0), repeat=rewards)), dtype=torch.float64)
    picks = torch.tensor([[i * step % len(vectors) for i in range(size)] for step in (1, 0, 3, len(vectors) // 2)])
    together, alone = compute(vectors[picks]), torch.cat([compute(vectors[pick][None]) for pick in picks])
    if not torch.allclose(together, alone, rtol=0, atol=ROUNDING / 100):
        raise DomainError(
            f"What {title} makes of a group depends on the other groups of its batch, so it has no number of kinds; "
            "count for one that looks at groups by themselves."
        )
    return compute


def figure_3(normalizers: Sequence[str], max_multisets: int) -> tuple[Panel, Panel]:
    """Both panels: n = 2 with growing G, and G = 4 with growing n.

    Args:
        normalizers: Names, perhaps with options.
        max_multisets: A panel ends before the first point with more groups than this.

    Raises:
        DomainError: An estimator's advantages depend on the other groups of the batch.
    """
    sizes = tuple(g for g in range(2, 17) if multisets(g, 2) <= max_multisets)
    lengths = tuple(n for n in range(1, 9) if multisets(4, n) <= max_multisets)
    return (
        Panel(
            "2 binary rewards",
            "rollouts in a group, G",
            sizes,
            {name: tuple(count_kinds(name, g, 2) for g in sizes) for name in normalizers},
        ),
        Panel(
            "4 rollouts in a group",
            "binary rewards, n",
            lengths,
            {name: tuple(count_kinds(name, 4, n) for n in lengths) for name in normalizers},
        ),
    )


def as_text(panels: Sequence[Panel]) -> str:
    """The panels as tables."""
    lines = []
    for panel in panels:
        width = max(map(len, (panel.axis, *panel.counts)))
        rows = [(panel.axis, panel.points), *panel.counts.items()]
        cells = max(len(str(number)) for _, numbers in rows for number in numbers) + 2
        lines.append(f"Distinct advantages of {panel.title}")
        lines += [f"  {name:<{width}}" + "".join(f"{number:>{cells}}" for number in numbers) for name, numbers in rows]
        lines.append("")
    return "\n".join(lines).rstrip()


def plot(panels: Sequence[Panel], path: Path) -> None:
    """Draw the panels side by side into an image file."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

    figure = Figure(figsize=(4.5 * len(panels), 3.5), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name, numbers in panel.counts.items():
            axes.plot(panel.points, numbers, marker="o", markersize=3, label=name)
        axes.set(title=panel.title, xlabel=panel.axis, ylabel="distinct groups of advantages", yscale="log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    write_figure(path, figure)
