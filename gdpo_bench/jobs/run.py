"""One training run: what it is told, what is done in a worker process, and the record of what it measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.agent.backends.decoding import backend_for
from gdpo_bench.agent.backends.protocol import RolloutBackend
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.checkpoint import Checkpoints
from gdpo_bench.agent.errors import DivergedError
from gdpo_bench.agent.evaluation import evaluate_suite
from gdpo_bench.agent.metrics import MetricsLog
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policies.pretrained import pinned
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.scale.processes import World, current_world
from gdpo_bench.agent.trainer import RunResult, StepReport, Trainer
from gdpo_bench.core import GdpoBenchError, RewardSpec, make_vec
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.measurements import Evaluation, curves
from gdpo_bench.core.processor import arithmetic
from gdpo_bench.core.rewards import Metric
from gdpo_bench.core.task import content_hash
from gdpo_bench.jobs.job import EnvChoice, RuntimeOptions, SeedPair
from gdpo_bench.jobs.start import Pretrained, WarmStarted
from gdpo_bench.jobs.work import Report


@dataclass
class RunRecord:
    """What one training run measured, as its result file holds it."""

    steps: list[int]
    """Training steps before each evaluation."""
    rewards: dict[str, list[float]]
    """Reward → mean at each evaluation."""
    metrics: dict[Metric, list[float]]
    """Canonical metric → value at each evaluation."""
    applicable: dict[str, float]
    """Reward → share of held-out rollouts that it applied to, at the last evaluation."""
    diagnostics: dict[str, float]
    tokens: int
    wall_s: float
    failures: list[str] = field(default_factory=list)
    """What reward functions failed on, the first few; too few to stop the run."""
    policy: dict[str, JsonValue] = field(default_factory=dict)
    """What says exactly which policy it was, and how many processes trained it, if several."""
    suites: dict[str, dict[str, float]] = field(default_factory=dict)
    """Suite → reward or canonical metric → value of the trained policy."""
    arithmetic: dict[str, str] = field(default_factory=dict)
    """What decided the last bits in the process that trained, see `core.processor.arithmetic`."""
    vectors: bytes = b""
    """What the evaluations averaged, packs of `RewardVectors` one after the other; kept in a file of its own."""


@dataclass(frozen=True)
class TrainingTask:
    """One training run: an environment, a normalizer, a seed."""

    env_label: str
    """What tells the environment from others of the job."""
    env: EnvChoice
    normalizer: NormalizerChoice
    seed: SeedPair
    weights: dict[str, float]
    """Reward → weight of the first step, for all rewards of the environment."""
    training: TrainingOptions
    policy: WarmStarted | Pretrained = field(repr=False)
    fingerprint: str = field(default="", repr=False)
    """Hash of what the names above stood for: the environment's tasks, the normalizer's source; and of the training
    options."""
    vllm: VLLMOptions | None = None
    """Draw completions with vLLM, and how; None: with transformers."""
    device: str = "cpu"
    suites: tuple[EnvChoice, ...] = ()
    runtime: RuntimeOptions = field(default=RuntimeOptions(), repr=False)
    files: Path | None = field(default=None, repr=False)
    """Folder for checkpoints and measures."""

    @property
    def label(self) -> str:
        """For the progress display."""
        return f"{self.env_label.partition('/')[2]} {self.normalizer.label} seed {self.seed.label}"

    def __call__(self, report: Report) -> RunRecord:
        """Do it."""
        return _train(self, report)


def _train(task: TrainingTask, report: Report) -> RunRecord:
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
    policy, origin = task.policy.load(task.device), task.policy.origin
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
    if task.device == "cpu":
        record.arithmetic = arithmetic()
    if task.policy.config is not None:
        record.policy |= pinned(policy) | origin
    if world.size > 1:
        record.policy["processes"] = world.size
    record.suites = {
        label: found.rewards | {str(n): v for n, v in found.metrics.items()} for label, found in suites.items()
    }
    return record


def _backend(vllm: VLLMOptions | None, policy: Policy) -> RolloutBackend:
    if vllm is None:
        return backend_for(policy)
    from gdpo_bench.agent.backends.vllm import VLLMBackend  # noqa: PLC0415 (an engine that need not be there)

    return VLLMBackend(policy, vllm)


def _trainer(task: TrainingTask, policy: Policy, backend: RolloutBackend, world: World) -> Trainer:
    options, runtime = task.training, task.runtime
    checkpoints = log = None
    if task.files is not None:
        log = partial(MetricsLog, task.files, task.label, runtime.loggers)
        if runtime.checkpoint_every:
            checkpoints = Checkpoints(task.files / "checkpoints", runtime.keep_checkpoints, task.files.name)
    return Trainer(
        policy,
        make_vec(task.env.id, options.prompts, options.group_size, "train", **task.env.options),
        make_vec(task.env.id, options.eval_prompts, options.eval_group_size, "eval", **task.env.options),
        normalizer=task.normalizer.make(),
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
