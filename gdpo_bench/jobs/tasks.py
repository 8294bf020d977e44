"""The pieces of a training job that run in worker processes. They travel as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.agent.options import EmbeddedConfig, PretrainedConfig, TrainingOptions
from gdpo_bench.agent.vllm_options import VLLMOptions
from gdpo_bench.core import content_hash, make_env, spec
from gdpo_bench.core.rewards import Metric
from gdpo_bench.jobs.engines.local import Report
from gdpo_bench.jobs.job import EnvChoice, RuntimeOptions, SeedPair

if TYPE_CHECKING:
    from gdpo_bench.agent.policy import Policy


@dataclass(frozen=True)
class WarmStarted:
    """Where a warm-started policy lies."""

    folder: Path
    corpus: str
    """Content hash of the demonstrations that it imitates."""

    @property
    def key(self) -> str:
        """Equal for equal policies of a job."""
        return self.corpus

    def load(self, device: str) -> Policy:
        """The policy, on a device."""
        from gdpo_bench.agent.policy import Policy  # noqa: PLC0415 (imports torch)

        return Policy.load(self.folder).to(device)


@dataclass(frozen=True)
class Pretrained:
    """A policy that is given."""

    config: PretrainedConfig

    @property
    def key(self) -> str:
        """Equal for equal policies of a job."""
        return content_hash(asdict(self.config))

    def load(self, device: str) -> Policy:
        """The policy, on a device."""
        from gdpo_bench.agent.pretrained import load_pretrained  # noqa: PLC0415 (imports torch)

        return load_pretrained(self.config, device)


@dataclass(frozen=True)
class WarmStartTask:
    """Train the embedded policy on demonstrations, or find it in the cache."""

    envs: tuple[EnvChoice, ...]
    """Whose demonstrations."""
    config: EmbeddedConfig
    seed: int
    device: str = "cpu"

    @property
    def label(self) -> str:
        """For the progress display."""
        return f"warm start {self.seed}"

    @property
    def key(self) -> str:
        """Equal for equal tasks."""
        return content_hash([[choice.model_dump() for choice in self.envs], asdict(self.config), self.seed])

    def __call__(self, report: Report) -> WarmStarted:
        """Do it, in the first process where there are several."""
        from gdpo_bench.agent.world import current_world  # noqa: PLC0415 (imports torch)

        return current_world().first(lambda: self._start(report))

    def _start(self, report: Report) -> WarmStarted:
        from gdpo_bench.agent.warm_start import build_corpus, warm_start  # noqa: PLC0415 (imports torch)

        envs = {spec(choice.id).id: make_env(choice.id, **choice.options) for choice in self.envs}
        corpus = build_corpus(envs, self.config.warm_start_examples, self.seed)
        return WarmStarted(warm_start(corpus, self.config, self.seed, report, self.device), content_hash(corpus))


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
    """Reward → weight, for all rewards of the environment."""
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
        from gdpo_bench.jobs.runs import train_run  # noqa: PLC0415 (imports torch)

        return train_run(self, report)
