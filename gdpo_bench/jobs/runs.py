"""One training run in a worker process: policy, environments, backend and files put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent.backend import RolloutBackend
from gdpo_bench.agent.checkpoint import Checkpoints
from gdpo_bench.agent.evaluation import evaluate_suite
from gdpo_bench.agent.learner import DivergedError
from gdpo_bench.agent.metrics import MetricsLog
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.pretrained import pinned
from gdpo_bench.agent.rollout import TransformersBackend
from gdpo_bench.agent.trainer import RunResult, StepReport, Trainer
from gdpo_bench.agent.vllm_options import VLLMOptions
from gdpo_bench.agent.world import World, current_world
from gdpo_bench.core import GdpoBenchError, RewardSpec, make_vec
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.task import content_hash
from gdpo_bench.core.vectors import Evaluation, curves
from gdpo_bench.jobs.engines.local import Report
from gdpo_bench.jobs.tasks import Pretrained, RunRecord

if TYPE_CHECKING:
    from gdpo_bench.jobs.tasks import TrainingTask


def train_run(task: TrainingTask, report: Report) -> RunRecord:
    """Train, evaluate, and measure the suites.

    Args:
        task: What to run.
        report: Told how far it is.

    Returns:
        What was measured.

    Raises:
        GdpoBenchError: See `Trainer`; or a device, model or backend that is not there.
    """
    world = current_world()
    policy = task.policy.load(task.device)
    with closing(_backend(task.vllm, policy)) as backend:
        trainer = _trainer(task, policy, backend, world)
        try:
            result = trainer.run(_reporter(task, report))
        except DivergedError as error:
            if task.files is None or not world.is_first:
                raise
            path = task.files / "diverged.json"
            write_atomically(path, json.dumps(error.batch, indent=1))
            raise GdpoBenchError(f"{error} Its batch is in {path}.") from error
        suites = {
            suite.label: evaluate_suite(
                suite.id,
                suite.options,
                policy,
                backend,
                sampling=task.training.eval_sampling,
                group_size=task.training.eval_group_size,
                world=world,
            )
            for suite in task.suites
        }
    record = _record(result, trainer.eval_env.reward_specs)
    record.policy = {"chat_template": content_hash(policy.tokenizer.chat_template)}
    if isinstance(task.policy, Pretrained):
        record.policy |= pinned(policy)
    if world.size > 1:
        record.policy["processes"] = world.size
    record.suites = {
        label: found.rewards | {str(n): v for n, v in found.metrics.items()} for label, found in suites.items()
    }
    return record


def _backend(vllm: VLLMOptions | None, policy: Policy) -> RolloutBackend:
    if vllm is None:
        return TransformersBackend(policy)
    from gdpo_bench.agent.vllm_backend import VLLMBackend  # noqa: PLC0415 (an engine that need not be there)

    return VLLMBackend(policy, vllm)


def _trainer(task: TrainingTask, policy: Policy, backend: RolloutBackend, world: World) -> Trainer:
    options, runtime = task.training, task.runtime
    checkpoints = log = None
    if task.files is not None:
        log = partial(MetricsLog, task.files, task.label, runtime.loggers)
        if runtime.checkpoint_every:
            checkpoints = Checkpoints(task.files / "checkpoints", runtime.keep_checkpoints)
    return Trainer(
        policy,
        make_vec(task.env.id, options.prompts, options.group_size, "train", **task.env.options),
        make_vec(task.env.id, options.eval_prompts, options.eval_group_size, "eval", **task.env.options),
        normalizer=make_normalizer(task.normalizer.normalizer, **task.normalizer.options),
        options=options,
        weights=task.weights,
        seed=task.seed.rl,
        backend=backend,
        checkpoints=checkpoints,
        checkpoint_every=max(1, runtime.checkpoint_every),
        open_log=log,
        world=world,
    )


def _reporter(task: TrainingTask, report: Report) -> StepReport:
    shown = ""

    def tell(step: int, evaluation: Evaluation | None) -> None:
        nonlocal shown
        if evaluation is not None:
            shown = "  ".join(f"{name} {value:.2f}" for name, value in evaluation.rewards.items())
        report(step / max(1, task.training.steps), shown)

    return tell


def _record(result: RunResult, specs: Sequence[RewardSpec]) -> RunRecord:
    evaluations = result.evaluations
    rewards, metrics = curves(evaluations, specs)
    return RunRecord(
        steps=[evaluation.step for evaluation in evaluations],
        rewards=rewards,
        metrics=metrics,
        applicable=evaluations[-1].applicable,
        diagnostics=result.diagnostics,
        tokens=result.tokens,
        wall_s=result.wall_s,
        vectors=result.vectors,
        failures=result.failures,
    )
