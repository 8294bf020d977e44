"""The pieces of a training job that run in worker processes. They travel as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gdpo_bench.agent.evaluation import Evaluation
from gdpo_bench.agent.options import EmbeddedConfig, TrainingOptions
from gdpo_bench.core import content_hash, make_env, make_vec, spec
from gdpo_bench.core.rewards import Metric
from gdpo_bench.jobs.engine import Report
from gdpo_bench.jobs.job import EnvChoice, NormalizerChoice, SeedPair


@dataclass(frozen=True)
class WarmStarted:
    """Where a warm-started policy lies."""

    folder: Path
    corpus: str
    """Content hash of the demonstrations that it imitates."""


@dataclass(frozen=True)
class WarmStartTask:
    """Train the embedded policy on demonstrations, or find it in the cache."""

    envs: tuple[EnvChoice, ...]
    """Whose demonstrations."""
    config: EmbeddedConfig
    seed: int

    @property
    def label(self) -> str:
        """For the progress display."""
        return f"warm start {self.seed}"

    @property
    def key(self) -> str:
        """Equal for equal tasks."""
        return content_hash([[choice.model_dump() for choice in self.envs], asdict(self.config), self.seed])

    def __call__(self, report: Report) -> WarmStarted:
        """Do it."""
        from gdpo_bench.agent.warm_start import build_corpus, warm_start  # noqa: PLC0415 (imports torch)

        envs = {spec(choice.id).id: make_env(choice.id, **choice.options) for choice in self.envs}
        corpus = build_corpus(envs, self.config.warm_start_examples, self.seed)
        return WarmStarted(warm_start(corpus, self.config, self.seed, report), content_hash(corpus))


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class TrainingTask:
    """One training run: an environment, a normalizer, a seed."""

    env: EnvChoice
    normalizer: NormalizerChoice
    seed: SeedPair
    weights: dict[str, float]
    """Reward → weight, for all rewards of the environment."""
    training: TrainingOptions
    warm_start: WarmStarted = field(repr=False)
    fingerprint: str = field(default="", repr=False)
    """Hash of what the names above stood for: the environment's tasks, the normalizer's source."""

    @property
    def label(self) -> str:
        """For the progress display."""
        return f"{self.env.id.rpartition('/')[2]} {self.normalizer.label} seed {self.seed.warm_start}:{self.seed.rl}"

    def __call__(self, report: Report) -> RunRecord:
        """Do it."""
        from gdpo_bench.advantages import make_normalizer  # noqa: PLC0415 (imports torch)
        from gdpo_bench.agent.policy import Policy  # noqa: PLC0415
        from gdpo_bench.agent.trainer import Trainer  # noqa: PLC0415

        options = self.training
        shown = ""

        def tell(step: int, evaluation: Evaluation | None) -> None:
            nonlocal shown
            if evaluation is not None:
                shown = "  ".join(f"{name} {value:.2f}" for name, value in evaluation.rewards.items())
            report(step / options.steps, shown)

        result = Trainer(
            Policy.load(self.warm_start.folder),
            make_vec(self.env.id, options.prompts, options.group_size, "train", **self.env.options),
            make_vec(self.env.id, options.eval_prompts, options.eval_group_size, "eval", **self.env.options),
            normalizer=make_normalizer(self.normalizer.normalizer, **self.normalizer.options),
            options=options,
            weights=self.weights,
            seed=self.seed.rl,
        ).run(tell)
        return _record(result)


def _record(result: Any) -> RunRecord:
    evaluations = result.evaluations
    return RunRecord(
        steps=[evaluation.step for evaluation in evaluations],
        rewards={name: [e.rewards[name] for e in evaluations] for name in evaluations[-1].rewards},
        metrics={name: [e.metrics[name] for e in evaluations] for name in evaluations[-1].metrics},
        applicable=evaluations[-1].applicable,
        diagnostics=result.diagnostics,
        tokens=result.tokens,
        wall_s=result.wall_s,
        failures=result.failures,
    )
