"""A training job: warm start, then every environment × normalizer × seed, then entries."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from rich.console import Console

from gdpo_bench.agent.options import PretrainedConfig
from gdpo_bench.agent.policies.pretrained import visible_gpus
from gdpo_bench.agent.scale.processes import current_world
from gdpo_bench.core import content_hash
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.processor import arithmetic_pins, usable_cores
from gdpo_bench.jobs.engines.choice import EngineChoice
from gdpo_bench.jobs.engines.local import LocalEngine
from gdpo_bench.jobs.engines.torchrun import TorchrunEngine
from gdpo_bench.jobs.entries import PlannedRun, RunEntries, said_options
from gdpo_bench.jobs.folder import RunFolder
from gdpo_bench.jobs.gpus import runs_per_gpu
from gdpo_bench.jobs.job import JobError, SeedPair
from gdpo_bench.jobs.plan import Plan, PlannedEnv
from gdpo_bench.jobs.progress import show_failure, watch
from gdpo_bench.jobs.report import write_suites
from gdpo_bench.jobs.run import RunRecord, TrainingTask
from gdpo_bench.jobs.start import Pretrained, WarmStarted, WarmStartTask
from gdpo_bench.jobs.work import Engine
from gdpo_bench.leaderboard.files.store import Measured


class RunFailuresError(GdpoBenchError, RuntimeError):
    """Some runs of a job failed; the others are finished."""


PolicyOf = Callable[[PlannedEnv, SeedPair], WarmStarted | Pretrained]


def train(
    plan: Plan,
    folder: RunFolder,
    command: str,
    console: Console,
    engine: EngineChoice = EngineChoice(),  # noqa: B008 (frozen)
    *,
    block: int | None = None,
) -> tuple[list[Measured], int, int]:
    """Train all runs that the folder does not hold yet.

    Args:
        plan: What to run.
        folder: Where results are kept.
        command: What repeats the job, for the entries.
        console: Shows progress.
        engine: Where the runs take place.
        block: At most so many runs now; all if absent.

    Returns:
        An entry with its sidecar for each environment × normalizer whose seeds are all finished, how many runs
        failed, and how many are left beside them.

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
        failed = waiting = 0
        entries = RunEntries(plan, folder, runs, command)
        for stage in _stages(entries, console):
            missing = [run.task for run in stage if folder.load(run.task) is None]
            if len(missing) < len(stage):
                console.print(f"{len(stage) - len(missing)} of {len(stage)} runs are finished already.")
            left, missing = len(missing), missing[:block]
            waiting += left - len(missing)
            if len(missing) < left:
                console.print(f"{len(missing)} of the {left} runs that are left are done now; --resume goes on.")
            failed += _run(missing, folder, running, console)
            block = None if block is None else block - len(missing)
    if plan.job.suites:
        write_suites(_suites(folder, runs), folder.path / "suites.txt", console)
    return list(entries), failed, waiting


def _run(tasks: list[TrainingTask], folder: RunFolder, engine: Engine, console: Console) -> int:
    """Carry out runs and keep their results; returns how many failed."""

    def finished(i: int, record: RunRecord) -> None:
        folder.save(tasks[i], record)
        for failure in record.failures:
            show_failure(console, failure)

    return len(watch(console, "training", tasks, engine.run(tasks), finished))


def _stages(entries: RunEntries, console: Console) -> Iterator[list[PlannedRun]]:
    """Runs in turn: all at once, or where only chosen trials are tested, those of the tuning seeds first."""
    job, runs = entries.plan.job, entries.runs
    if job.tuning is None or job.tuning.tested == "all":
        yield runs
        return
    yield [run for run in runs if run.task.seed in job.tuning.seeds]
    chosen = entries.chosen(job.tuning.target)
    for _, normalizer in chosen:
        console.print(f"Tuning chose {normalizer.choice.label}.", markup=False, highlight=False)
    yield [run for run in runs if run.task.seed in job.seeds and any(map(run.is_of, chosen))]


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
