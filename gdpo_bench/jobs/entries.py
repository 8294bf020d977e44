"""Entries of a job from the results that its folder holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.scale.processes import current_world
from gdpo_bench.core.measurements import unpack
from gdpo_bench.jobs.folder import RunFolder
from gdpo_bench.jobs.gpus import runs_per_gpu
from gdpo_bench.jobs.plan import Plan, PlannedEnv, PlannedNormalizer
from gdpo_bench.jobs.run import RunRecord, TrainingTask
from gdpo_bench.jobs.start import WarmStarted
from gdpo_bench.leaderboard import Curve, PolicyConfig, Seed, SeedResult, collect_provenance, make_entry
from gdpo_bench.leaderboard.compare.tuning import best_trial
from gdpo_bench.leaderboard.files.all_right import completed
from gdpo_bench.leaderboard.files.provenance import rollout_engine
from gdpo_bench.leaderboard.files.schema import UNSAID_OPTIONS, PlanReference
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun
from gdpo_bench.leaderboard.files.store import Measured

Pair = tuple[PlannedEnv, PlannedNormalizer]
Role = Literal["tuning", "test"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of the job with everything that an entry says of it."""

    env: PlannedEnv
    normalizer: PlannedNormalizer
    task: TrainingTask

    def is_of(self, pair: Pair) -> bool:
        """Whether it trains that environment with that normalizer."""
        return self.env is pair[0] and self.normalizer is pair[1]


@dataclass(frozen=True)
class RunEntries:
    """An entry with its sidecar for each pair and role of which all runs are finished, as far as they are now."""

    plan: Plan
    folder: RunFolder
    runs: list[PlannedRun]
    command: str
    """What repeats the job."""

    def __iter__(self) -> Iterator[Measured]:
        """All that can be made."""
        roles: tuple[Role, ...] = ("tuning", "test") if self.plan.job.tuning else ("test",)
        for pair, role in itertools.product(self.plan.pairs, roles):
            if (measured := self._of(pair, role)) is not None:
                yield measured

    def chosen(self, target: str) -> list[Pair]:
        """The best trial of each normalizer on each environment, of which all tuning runs are finished."""
        trials: dict[tuple[str, str], list[Pair]] = {}
        for env, normalizer in self.plan.pairs:
            trials.setdefault((env.label, normalizer.named.label), []).append((env, normalizer))
        found = []
        for pairs in trials.values():
            measured = [self._of(pair, "tuning") for pair in pairs]
            entries = [completed(one) for one in measured if one is not None]
            if len(entries) == len(pairs):
                best = best_trial(entries, target)
                found += [pair for pair, entry in zip(pairs, entries, strict=True) if entry is best]
        return found

    def _of(self, pair: Pair, role: Role) -> Measured | None:
        job = self.plan.job
        seeds_of_role = job.tuning.seeds if job.tuning and role == "tuning" else job.seeds
        tasks = [run.task for run in self.runs if run.is_of(pair) and run.task.seed in seeds_of_role]
        records = [self.folder.load(task) for task in tasks]
        finished = [record for record in records if record is not None]
        if len(finished) < len(records):
            return None
        env, normalizer = pair
        seeds = [_seed(task) for task in tasks]
        vectors = [SidecarRun(seed, unpack(one.vectors)) for seed, one in zip(seeds, finished, strict=True)]
        sidecar = Sidecar.of((spec.name for spec in env.specs), vectors)
        entry = make_entry(
            track="training",
            division="open" if "processes" in finished[0].policy else self.plan.division(env, normalizer),
            environment=env.description,
            normalizer=normalizer.describe(env.specs),
            policy=_describe_policy(self.plan, env, tasks, finished[0]),
            training=said_options(self.plan.training(env, normalizer)),
            plan=None if job.declared is None else PlanReference.of(job.declared, role),
            results=[_result(seed, record) for seed, record in zip(seeds, finished, strict=True)],
            sidecar=sidecar.sha256,
            provenance=collect_provenance(
                self.command,
                wall_s=sum(record.wall_s for record in finished),
                tokens=sum(record.tokens for record in finished),
                engine=rollout_engine("transformers" if self.plan.vllm is None else "vllm", self.plan.device),
                gpus=self._gpus_of_a_run,
                arithmetic=finished[0].arithmetic or None,
                programs=env.env.runs_programs_with(),
            ),
        )
        return Measured(entry, sidecar)

    @cached_property
    def _gpus_of_a_run(self) -> float:
        """One for each process of a run, or a share of one."""
        if self.plan.device != "cuda":
            return 0
        processes = current_world().size
        return processes if processes > 1 else 1 / runs_per_gpu(self.plan)


def said_options(training: TrainingOptions) -> dict[str, Any]:
    """The options as an entry names them."""
    fields = training.model_dump(mode="json")
    return {name: value for name, value in fields.items() if (name, value) not in UNSAID_OPTIONS.items()}


def _describe_policy(plan: Plan, env: PlannedEnv, tasks: list[TrainingTask], record: RunRecord) -> PolicyConfig:
    assert plan.policy.config is not None
    details: dict[str, Any] = {"config": asdict(plan.policy.config), "rollout": plan.job.rollout}
    if plan.policy.imitates:
        details["warm_start_envs"] = [choice.model_dump(mode="json") for choice in plan.warm_start_envs(env)]
        details["warm_start_corpus"] = {str(task.seed.warm_start): task.policy.key for task in tasks}
    return PolicyConfig(name=plan.policy.name, details=details | record.policy)


def _seed(task: TrainingTask) -> Seed:
    return Seed(warm_start=task.seed.warm_start if isinstance(task.policy, WarmStarted) else None, rl=task.seed.rl)


def _result(seed: Seed, record: RunRecord) -> SeedResult:
    return SeedResult(
        seed=seed,
        steps=record.steps,
        rewards={name: Curve.of(curve) for name, curve in record.rewards.items()},
        metrics={name: Curve.of(curve) for name, curve in record.metrics.items()},
        diagnostics=record.diagnostics,
        applicable_share={name: share for name, share in record.applicable.items() if share < 1},
    )
