"""Which reward drives the advantages: for reports, not for every step.

explanation = explain(advantages, rewards, groups, names=["format", "correct"])
print(explanation)
explanation.plot("rewards.png")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdpo_bench.advantages.diagnostics import Diagnostics, as_array, diagnose
from gdpo_bench.advantages.signals import centre_within
from gdpo_bench.core.files import write_figure


@dataclass(frozen=True)
class Contribution:
    """One reward's part in the advantages of a batch."""

    reward: str
    share: float
    """Share of the advantages' variance: β · cov(reward, A) / var(A), β from the regression of A on
    all rewards. Shares add up to what a linear function of the rewards explains, at most 1. A
    negative share belongs to a reward that the advantages only seem to follow, through another one."""
    correlation: float
    """Correlation with the advantages, within groups; 0 if either is constant."""


@dataclass(frozen=True)
class Explanation:
    """Diagnostics of a batch and the contribution of each reward."""

    diagnostics: Diagnostics
    contributions: tuple[Contribution, ...]

    def __str__(self) -> str:
        """A few lines for a terminal."""
        counts = self.diagnostics
        width = max(len(contribution.reward) for contribution in self.contributions)
        lines = [
            f"{counts.distinct_levels} distinct advantages; {counts.collapsed_rollouts} rollouts collapsed; "
            f"{counts.zero_signal_groups} of {counts.groups} groups ({counts.zero_signal_share:.0%}) without signal"
        ]
        lines += [
            f"  {c.reward:<{width}}  {c.share:6.1%} of variance, correlation {c.correlation:+.2f}"
            for c in self.contributions
        ]
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Draw the contributions as bars into a PNG, SVG or PDF."""
        from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

        figure = Figure(figsize=(5, 1 + 0.45 * len(self.contributions)), layout="constrained")
        axes = figure.subplots()
        names = [contribution.reward for contribution in self.contributions]
        places = np.arange(len(names))
        axes.barh(places - 0.2, [c.share for c in self.contributions], 0.4, label="share of variance")
        axes.barh(places + 0.2, [c.correlation for c in self.contributions], 0.4, label="correlation")
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(min(-0.05, *(min(c.share, c.correlation) for c in self.contributions)) * 1.1, 1.05)
        counts = self.diagnostics
        axes.set_title(f"{counts.distinct_levels} levels, {counts.zero_signal_share:.0%} of groups without signal")
        axes.legend(fontsize="small")
        write_figure(path, figure)


def explain(
    advantages: Any,
    rewards: Any,
    groups: Any,
    *,
    names: Sequence[str] | None = None,
    applicable: Any = None,
    failed: Any = None,
) -> Explanation:
    """Diagnose a batch and say how much each reward contributes to its advantages.

    Args:
        advantages: (N,).
        rewards: (N, K).
        groups: Group ids (N,).
        names: The K rewards' names.
        applicable: (N, K) bool; an absent reward stands at its group's mean.
        failed: (N, K) bool; likewise.

    Returns:
        Counts and contributions, in the order of the rewards.
    """
    values, matrix = as_array(advantages).astype(float), as_array(rewards).astype(float)
    present = np.ones(matrix.shape, dtype=bool) if applicable is None else as_array(applicable).copy()
    if failed is not None:
        present &= ~as_array(failed)
    index = np.unique(as_array(groups), return_inverse=True)[1]
    centred = centre_within(matrix, index, present)
    target = centre_within(values[:, None], index, np.ones((len(values), 1), dtype=bool))[:, 0]
    # Scaled to unit size first, so that the rank does not depend on a reward's unit.
    sizes, size = np.sqrt((centred**2).mean(0)), float(np.sqrt((target**2).mean()))
    scaled = np.divide(centred, sizes, out=np.zeros_like(centred), where=sizes > 1e-12)
    unit = target / size if size > 1e-12 else np.zeros_like(target)
    correlations = scaled.T @ unit / len(unit)
    shares = np.linalg.lstsq(scaled, unit, rcond=1e-9)[0] * correlations
    return Explanation(
        diagnose(advantages, rewards, groups, applicable, failed),
        tuple(
            Contribution(names[i] if names else f"reward {i}", float(shares[i]), float(correlations[i]))
            for i in range(matrix.shape[1])
        ),
    )
