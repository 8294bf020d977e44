"""A normalizer whose weights follow a schedule.

It counts the batches that it is called with, so that everything that carries a normalizer's state, such as checkpoints
and dynamic sampling, carries the schedule along.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from gdpo_bench.advantages.arithmetic import batch_moments
from gdpo_bench.advantages.batch import Normalizer, RewardBatch
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.advantages.state import check_state_is_offered, load_normalizer_state, normalizer_state
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.schedules import Schedule, Threshold, schedules_of


@dataclass(frozen=True)
class Scheduled:
    """Another normalizer, with the weights of the step."""

    normalizer: Normalizer
    schedules: Mapping[str, Schedule]
    """Reward → how its weight changes."""
    _state: dict[str, Any] = field(default_factory=lambda: {"step": 0, "reached": []}, init=False, repr=False)

    def check_rewards(self, specs: Sequence[RewardSpec], weights: Mapping[str, float]) -> None:
        """Refuse rewards that the normalizer cannot take with weights that the schedules come to.

        Raises:
            UnknownNameError: A schedule waits for a reward that there is not.
            DomainError: See the normalizer.
        """
        names = [spec.name for spec in specs]
        for schedule in self.schedules.values():
            if isinstance(schedule, Threshold) and schedule.reward not in names:
                raise UnknownNameError("reward in a schedule of weights", schedule.reward, names)
        if callable(check := getattr(self.normalizer, "check_rewards", None)):
            here = {name: schedule for name, schedule in self.schedules.items() if name in names}
            for values in itertools.product(*(schedule.values for schedule in here.values())):
                check(specs, {**weights, **dict(zip(here, values, strict=True))})

    def __call__(self, batch: RewardBatch) -> Tensor:
        """Advantages (N,) from rewards (N, K) with specs and group ids (N,); a step further."""
        if batch.specs is None:
            raise DomainError("Weights by a schedule need `specs`, which name the rewards; pass specs.")
        names, weights = [spec.name for spec in batch.specs], batch.weights.clone()
        for name, schedule in self.schedules.items():
            if name in names:
                weights[names.index(name)] = schedule.at(self._state["step"], reached=name in self._state["reached"])
        advantages = self.normalizer(replace(batch, weights=weights))
        means = dict(zip(names, batch_moments(batch)[0].tolist(), strict=True))
        for name, schedule in self.schedules.items():
            waits = isinstance(schedule, Threshold) and name not in self._state["reached"]
            if waits and isinstance(schedule, Threshold) and means[schedule.reward] >= schedule.value:
                self._state["reached"] = [*self._state["reached"], name]
        self._state["step"] += 1
        return advantages

    def state_dict(self) -> dict[str, Any]:
        """The step, whose thresholds were reached, and the normalizer's own state."""
        check_state_is_offered(self.normalizer)
        return {**self._state, "normalizer": normalizer_state(self.normalizer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.update({name: value for name, value in state.items() if name != "normalizer"})
        load_normalizer_state(self.normalizer, state["normalizer"])


def scheduled(normalizer: Normalizer, weights: Mapping[str, float | Schedule]) -> Normalizer:
    """The normalizer with those of the weights that are schedules; as it is where none is."""
    found = schedules_of(weights)
    return Scheduled(normalizer, found) if found else normalizer
