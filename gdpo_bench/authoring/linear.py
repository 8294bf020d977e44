"""MO-Gymnasium's way from a reward vector to a number, fit for Gymnasium's checker. Needs MO-Gymnasium."""

from __future__ import annotations

from typing import Any

from mo_gymnasium.wrappers import LinearReward  # type: ignore[attr-defined]


class FreshLinearReward(LinearReward):
    """`LinearReward` whose `info` is the caller's to keep.

    MO-Gymnasium 1.3 hands out its own array of weights in every step, of which Gymnasium's checker
    complains as soon as an episode has two.
    """

    def step(self, action: Any) -> Any:
        """The scalar step, with a copy of the weights."""
        step: tuple[Any, ...] = super().step(action)
        info = step[-1]
        return *step[:-1], info | {"reward_weights": info["reward_weights"].copy()}
