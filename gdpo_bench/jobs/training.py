"""A training job: warm start, then every environment × normalizer × seed, then entries."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from rich.console import Console

from gdpo_bench.agent.options import PretrainedConfig, TrainingOptions
from gdpo_bench.agent.policies.pretrained import visible_gpus
from gdpo_bench.agent.scale.processes import current_world
from gdpo_bench.core import content_hash
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.measurements import unpack
from gdpo_bench.core.processor import arithmetic_pins, usable_cores
from gdpo_bench.jobs.engines.choice import EngineChoice
from gdpo_bench.jobs.engines.local import LocalEngine
from gdpo_bench.jobs.engines.torchrun import TorchrunEngine
from gdpo_bench.jobs.folder import RunFolder
from gdpo_bench.jobs.gpus import runs_per_gpu
from gdpo_bench.jobs.job import JobError, SeedPair
from gdpo_bench.jobs.plan import Plan, PlannedEnv, PlannedNormalizer
from gdpo_bench.jobs.progress import show_failure, watch
from gdpo_bench.jobs.report import write_suites
from gdpo_bench.jobs.run import RunRecord, TrainingTask
from gdpo_bench.jobs.start import Pretrained, WarmStarted, WarmStartTask
from gdpo_bench.jobs.work import Engine
from gdpo_bench.leaderboard import Curve, PolicyConfig, Seed, SeedResult, collect_provenance, make_entry
from gdpo_bench.leaderboard.files.provenance import rollout_engine
from gdpo_bench.leaderboard.files.schema import UNSAID_OPTIONS, PlanReference
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun
from gdpo_bench.leaderboard.files.store import Measured


class RunFailuresError(GdpoBenchError, RuntimeError):
    """Some runs of a job failed; the others are finished."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of the job with everything that an entry says of it."""

    env: PlannedEnv
    normalizer: PlannedNormalizer
    task: TrainingTask


PolicyOf = Callable[[PlannedEnv, SeedPair], WarmStarted | Pretrained]


def train(
    plan: Plan,
    folder: RunFolder,
    command: str,
    console: Console,
    engine: EngineChoice = EngineChoice(),  # noqa: B008 (frozen)
    *,
    block: int | None = None,
) -> tuple[list[Measured], int]:
    """Train all runs that the folder does not hold yet.

    Args:
        plan: What to run.
        folder: Where results are kept.
        command: What repeats the job, for the entries.
        console: Shows progress.
        engine: Where the runs take place.
        block: At most so many runs now; all if absent.

    Returns:
        An entry with its sidecar for each environment × normalizer whose seeds are all finished, and how many
        runs failed.

    Raises:
        JobError: Another run is going on in the folder.
    """
    for id in plan.undemonstrated:
        console.print(
            f"{id} offers no demonstrations: the policy begins without any of its replies, and may never earn a reward "
            "there. Define `demonstrations(rng)` in the environment.",
            style="yellow",
        )
    for sentence in plan.warm_start_sentences():
        console.print(sentence, style="dim", markup=False, highlight=False)
    if (declared := plan.job.declared) is not None:
        folder.declare(declared)
        console.print(f"Plan {content_hash(declared)}, declared before anything was run.", highlight=False)
    with folder.locked() if current_world().is_first else nullcontext(), _start(engine, plan) as running:
        runs = list(_planned_runs(plan, folder, _policies(plan, running, console)))
        missing = [run.task for run in runs if folder.load(run.task) is None]
        if len(missing) < len(runs):
            console.print(f"{len(runs) - len(missing)} of {len(runs)} runs are finished already.")
        left, missing = len(missing), missing[:block]
        if len(missing) < left:
            console.print(f"{len(missing)} of the {left} runs that are left are done now; --resume goes on.")

        def finished(i: int, record: RunRecord) -> None:
            folder.save(missing[i], record)
            for failure in record.failures:
                show_failure(console, failure)

        failures = watch(console, "training", missing, running.run(missing), finished)
    if plan.job.suites:
        write_suites(_suites(folder, runs), folder.path / "suites.txt", console)
    return list(_entries(plan, folder, runs, command)), len(failures)


def _suites(folder: RunFolder, runs: list[PlannedRun]) -> dict[tuple[str, str], list[dict[str, float]]]:
    """(suite, what was trained) → values of each finished run."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for run in runs:
        if (record := folder.load(run.task)) is not None:
            for suite, values in record.suites.items():
                found.setdefault((suite, f"{run.env.label} {run.normalizer.choice.label}"), []).append(values)
    return found


def _start(choice: EngineChoice, plan: Plan) -> Engine:
    world = current_world()
    if world.size > 1:
        _check_shares(choice, plan, world.size)
        return TorchrunEngine(world)
    if choice.kind == "ray":
        from gdpo_bench.jobs.engines.ray import RayEngine  # noqa: PLC0415 (an optional dependency)

        return RayEngine(choice.address, choice.ray)
    runs = len(plan.pairs) * len(plan.job.all_seeds)
    if plan.device == "cuda":
        gpus = visible_gpus()
        return LocalEngine(min(len(gpus) * runs_per_gpu(plan), runs), gpus)
    # One worker for the warm start would do, but the others may import torch meanwhile.
    return LocalEngine(min(usable_cores(), runs), pins=arithmetic_pins(bfloat16=plan.policy.in_bfloat16))


def _gpus_of_a_run(plan: Plan) -> float:
    """One for each process of a run, or a share of one."""
    if plan.device != "cuda":
        return 0
    processes = current_world().size
    return processes if processes > 1 else 1 / runs_per_gpu(plan)


def _check_shares(choice: EngineChoice, plan: Plan, processes: int) -> None:
    """Refuse what torchrun's processes cannot do together.

    Raises:
        JobError: Prompts that cannot be shared evenly, too few GPUs, another engine, or vLLM.
    """
    if choice.kind != "local":
        raise JobError(
            f"--engine {choice.kind} gives each run a process, torchrun gives one run several: start the job with "
            "python -m gdpo_bench.run, or leave --engine out."
        )
    if plan.vllm is not None:
        raise JobError("The vllm backend draws in one process: under torchrun, take --rollout transformers.")
    for env, name in itertools.product(plan.envs, ("prompts", "eval_prompts")):
        prompts = getattr(env.training, name)
        if prompts % processes:
            raise JobError(
                f"training.{name} is {prompts}, which {processes} processes cannot share evenly: choose a multiple of "
                f"{processes}, or start another number of processes."
            )
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if plan.device == "cuda" and here > gpus:
        raise JobError(f"torchrun started {here} processes on this machine, which has {gpus} GPUs: each needs its own.")


def _policies(plan: Plan, engine: Engine, console: Console) -> PolicyOf:
    """What each run begins from; what imitates first is made now."""
    config = plan.policy.config
    assert config is not None
    if isinstance(config, PretrainedConfig) and not plan.policy.imitates:
        given = Pretrained(config)
        return lambda env, seed: given

    def task_of(env: PlannedEnv, seed: SeedPair) -> WarmStartTask:
        return WarmStartTask(plan.warm_start_envs(env), config, seed.warm_start, plan.device)

    tasks = {task.key: task for seed in plan.job.all_seeds for env in plan.envs for task in [task_of(env, seed)]}
    keys, started = list(tasks), dict[str, WarmStarted]()
    failures = watch(
        console,
        "warm start",
        list(tasks.values()),
        engine.run(list(tasks.values())),
        lambda i, result: started.update({keys[i]: result}),
    )
    if failures:
        raise RunFailuresError(f"The warm start failed: {failures[0].message}")
    return lambda env, seed: started[task_of(env, seed).key]


def _planned_runs(plan: Plan, folder: RunFolder, policy_of: PolicyOf) -> Iterator[PlannedRun]:
    world = current_world()
    processes = [world.size] if world.size > 1 else []  # each with its own noise: another number is another run
    for seed in plan.job.all_seeds:  # outermost, so that an interrupted job has whole seeds to compare
        for env, normalizer in plan.pairs:
            options = plan.training(env, normalizer)
            names = [env.description.model_dump(mode="json"), said_options(options), normalizer.options]
            task = TrainingTask(
                env.label,
                env.choice,
                normalizer.choice.plain,
                seed,
                normalizer.weights(env.specs),
                options,
                policy_of(env, seed),
                content_hash([*names, *processes]),
                plan.vllm,
                plan.device,
                plan.job.suites,
                plan.job.runtime,
            )
            yield PlannedRun(env, normalizer, replace(task, files=folder.files(task).absolute()))


def _entries(plan: Plan, folder: RunFolder, runs: list[PlannedRun], command: str) -> Iterator[Measured]:
    roles: list[tuple[Literal["tuning", "test"], tuple[SeedPair, ...]]] = [("test", plan.job.seeds)]
    if plan.job.tuning:
        roles.insert(0, ("tuning", plan.job.tuning.seeds))
    declared, gpus = plan.job.declared, _gpus_of_a_run(plan)
    for (env, normalizer), (role, seeds_of_role) in itertools.product(plan.pairs, roles):
        tasks = [
            run.task
            for run in runs
            if run.env is env and run.normalizer is normalizer and run.task.seed in seeds_of_role
        ]
        records = [folder.load(task) for task in tasks]
        finished = [record for record in records if record is not None]
        if len(finished) < len(records):
            continue
        seeds = [_seed(task) for task in tasks]
        vectors = [SidecarRun(seed, unpack(one.vectors)) for seed, one in zip(seeds, finished, strict=True)]
        sidecar = Sidecar.of((spec.name for spec in env.specs), vectors)
        entry = make_entry(
            track="training",
            division="open" if "processes" in finished[0].policy else plan.division(env, normalizer),
            environment=env.description,
            normalizer=normalizer.describe(env.specs),
            policy=_describe_policy(plan, env, tasks, finished[0]),
            training=said_options(plan.training(env, normalizer)),
            plan=None if declared is None else PlanReference.of(declared, role),
            results=[_result(seed, record) for seed, record in zip(seeds, finished, strict=True)],
            sidecar=sidecar.sha256,
            provenance=collect_provenance(
                command,
                wall_s=sum(record.wall_s for record in finished),
                tokens=sum(record.tokens for record in finished),
                engine=rollout_engine("transformers" if plan.vllm is None else "vllm", plan.device),
                gpus=gpus,
                arithmetic=finished[0].arithmetic or None,
                programs=env.env.runs_programs_with(),
            ),
        )
        yield Measured(entry, sidecar)


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
