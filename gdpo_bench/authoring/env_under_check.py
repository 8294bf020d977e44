"""What is checked: an environment, a sample of its tasks, and what it makes of many replies."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from gdpo_bench.authoring.probes import (
    Outcome,
    Probe,
    corrupted_probes,
    demonstration_probes,
    odd_probes,
    play,
    play_alone,
    reference_probes,
    spread,
)
from gdpo_bench.authoring.processes import Report, in_processes
from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.env import TextEnv, build_env
from gdpo_bench.core.errors import DataError, DeclarationError, GdpoBenchError, RewardError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.registry import load_class, parse_id, spec
from gdpo_bench.core.scoring import ScoringFailure
from gdpo_bench.core.task import Task

_CORRUPTED = 2
"""Tasks whose references are corrupted; every way on each."""
_LONG = 200_000
"""Replies of so many characters are played once in each process."""


class EnvUnderCheck:
    """An environment under examination. What several checks need is computed once."""

    def __init__(self, env: str | TextEnv[Any], tasks: int = 20, **options: Any) -> None:
        """Make the environment and list its tasks.

        Args:
            env: An id, `module:namespace/Name-v0`, either with `:option=value`, or an instance.
            tasks: How many tasks of each split to try the reference on.
            **options: The environment's options; an instance has its own.

        Raises:
            GdpoBenchError: It cannot be made or scored here, a split is empty, or no data are there.
        """
        if tasks < 1:
            raise GdpoBenchError(f"The number of tasks to check must be at least 1; got {tasks}.")
        self.results: dict[str, object] = {}
        """Check → its result, once it was run."""
        self.registered = isinstance(env, str)
        self.make: Callable[[], TextEnv[Any]]
        if isinstance(env, str):
            id, chosen = parse_id(env)
            found = spec(id)
            self.name, self.options = found.id, chosen | options
            cls = load_class(found.id)
            self.make = functools.partial(build_env, cls, found.id, found.options_with(self.options))
        elif options:
            raise DeclarationError(f"{type(env).__name__}: options go to the class; an instance has its own.")
        else:
            self.name, self.options = type(env).__name__, {}
            self.make = functools.partial(_same, env)
        with blaming(self.name):
            self.env = self.make()
            if lacking := self.env.unavailable():
                raise GdpoBenchError(f"{self.name}: {lacking}")
            self.tasks, self.missing = _splits(self.env, self.name)
        self.sample = [task for split in self.tasks.values() for task in spread(split, tasks)]

    @property
    def names(self) -> list[str]:
        """The K rewards' names."""
        return [spec.name for spec in self.env.reward_specs]

    @cached_property
    def referenced(self) -> list[Probe] | GdpoBenchError:
        """Reference replies to the sampled tasks that have one, or why they cannot be had."""
        try:
            return reference_probes(self.env, self.name, self.sample)
        except GdpoBenchError as error:
            return error

    @property
    def references(self) -> list[Probe]:
        """Reference replies, none where they cannot be had."""
        return self.referenced if isinstance(self.referenced, list) else []

    @cached_property
    def demonstrated(self) -> list[Probe] | GdpoBenchError:
        """Some demonstrations, or why there are none."""
        try:
            return [] if self.missing else demonstration_probes(self.env, self.name)
        except GdpoBenchError as error:
            return error

    @property
    def demonstrations(self) -> list[Probe]:
        """Some demonstrations, none where they cannot be drawn."""
        return self.demonstrated if isinstance(self.demonstrated, list) else []

    @cached_property
    def broken(self) -> dict[str, tuple[ScoringFailure, Probe]]:
        """Rewards that raise whatever is replied: on a reference, or on each of the odd replies. With an instance."""
        found: dict[str, tuple[ScoringFailure, Probe]] = {}
        for probe, outcome in zip(self.references, self.reference_outcomes, strict=True):
            for failure in outcome.failures:
                found.setdefault(failure.reward, (failure, probe))
        scored = [outcome for outcome in self.outcomes if not outcome.error]
        failing = [{failure.reward for failure in outcome.failures} for outcome in scored]
        for name in set.intersection(*failing) if failing else ():
            failure = next(failure for failure in scored[0].failures if failure.reward == name)
            found.setdefault(name, (failure, self.scored[0][0] if self.scored[0] else self.playable[0]))
        return found

    @cached_property
    def probes(self) -> list[Probe]:
        """Good, imperfect and odd replies; the odd ones last."""
        chosen = spread(self.references, _CORRUPTED)
        reference = self.references[0].replies[-1] if self.references else ""
        return [
            *chosen,
            *corrupted_probes(chosen),
            *self.demonstrations,
            *odd_probes(self.sample[0], reference),
        ]

    @cached_property
    def reports(self) -> tuple[Report, Report]:
        """What two processes with different hash seeds made of the probes."""
        return in_processes(self.make, self.name, list(self.tasks), self.probes)

    @cached_property
    def playable(self) -> list[Probe]:
        """Probes that do no harm to this process: those that another one has survived."""
        return self.probes[: min(report.survived for report in self.reports)]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What each playable probe earns when played alone."""
        return self.alone(self.playable)

    @cached_property
    def reference_outcomes(self) -> list[Outcome]:
        """What each reference earns when played alone."""
        return self.alone(self.references)

    @cached_property
    def scored(self) -> tuple[list[Probe], list[Outcome]]:
        """Probes to be played several times, and their outcomes: those that can be scored, and quickly."""
        rows = [
            i
            for i, (probe, outcome) in enumerate(zip(self.playable, self.outcomes, strict=True))
            if not outcome.error and max(map(len, probe.replies)) < _LONG
        ]
        return [self.playable[i] for i in rows], [self.outcomes[i] for i in rows]

    @cached_property
    def together(self) -> list[Outcome] | RewardError:
        """What the scored probes earn side by side, or why their rewards cannot be read then."""
        try:
            return play(self.env, self.name, self.scored[0])
        except RewardError as error:
            return error

    @cached_property
    def twin(self) -> TextEnv[Any] | None:
        """A second instance, made anew; a copy of an instance, if it can be copied."""
        if self.registered:
            return self.make()
        try:
            copied: TextEnv[Any] = pickle.loads(pickle.dumps(self.env))
        except Exception:  # the check of pickling says so
            return None
        return copied

    def alone(self, probes: Sequence[Probe], env: TextEnv[Any] | None = None) -> list[Outcome]:
        """Play probes one by one.

        Args:
            probes: The probes.
            env: Another instance than the one that is checked.
        """
        return [play_alone(env or self.env, self.name, probe) for probe in probes]


def _splits(env: TextEnv[Any], name: str) -> tuple[dict[str, Sequence[Task]], dict[str, DataError]]:
    """Tasks of the splits whose data are there, and what is wrong with the others.

    Raises:
        DataError: There are data of no split.
    """
    found: dict[str, Sequence[Task]] = {}
    missing: dict[str, DataError] = {}
    for split in env.splits:
        try:
            found[split] = tasks_of(env, split, name)
        except DataError as error:
            missing[split] = error
    if not found:
        raise next(iter(missing.values()))
    return found, missing


def _same(env: TextEnv[Any]) -> TextEnv[Any]:
    """An instance as a recipe of itself; in another process, a copy."""
    return env
