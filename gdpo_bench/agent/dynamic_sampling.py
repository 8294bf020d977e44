"""Dynamic sampling: prompts are drawn until enough groups have something to teach.

Source: DAPO, arXiv 2503.14476, Section 3.2; there by the reward's spread, here by the final advantage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gdpo_bench.advantages import keep_groups
from gdpo_bench.advantages.state import state_unchanged
from gdpo_bench.agent.rollouts import Rollouts, Score, concatenate

if TYPE_CHECKING:
    from gdpo_bench.agent.step import TrainingStep


def draw_with_signal(step: TrainingStep, seed: int | None) -> tuple[Rollouts, Score]:
    """As many groups with a signal as a step draws, as far as they can be had in `max_draws` draws."""

    def drawn(seed: int | None) -> Rollouts:
        replies, scores = step.draw(seed)
        return replies.scored(scores())

    def with_signal(rollouts: Rollouts) -> Rollouts:
        with state_unchanged(step.normalizer):  # which advances once a step, by what is trained on
            return rollouts.select(keep_groups(step.advantages(rollouts), rollouts.groups))

    first = drawn(seed)
    kept, wanted = with_signal(first), _groups(first)
    for _ in range(step.options.max_draws - 1):
        if _groups(kept) >= wanted:
            break
        kept = with_signal(concatenate([kept, drawn(None)]))
    kept = kept.select(torch.from_numpy(np.isin(kept.groups, np.unique(kept.groups)[:wanted])))
    found = kept if len(kept) else first
    return found, lambda: found.scores


def _groups(rollouts: Rollouts) -> int:
    return len(np.unique(rollouts.groups))
