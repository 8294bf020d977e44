"""Where training begins: a policy that is warm-started in a worker process, or a given one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gdpo_bench.agent.options import EmbeddedConfig, PretrainedConfig
from gdpo_bench.core import content_hash, make_env, spec
from gdpo_bench.jobs.job import EnvChoice
from gdpo_bench.jobs.work import Report

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
        from gdpo_bench.agent.policies.pretrained import load_pretrained  # noqa: PLC0415 (imports torch)

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
        from gdpo_bench.agent.scale.processes import current_world  # noqa: PLC0415 (imports torch)

        return current_world().broadcast(lambda: self._start(report))

    def _start(self, report: Report) -> WarmStarted:
        from gdpo_bench.agent.policies.warm_start import build_corpus, warm_start  # noqa: PLC0415 (imports torch)

        envs = {spec(choice.id).id: make_env(choice.id, **choice.options) for choice in self.envs}
        corpus = build_corpus(envs, self.config.warm_start_examples, self.seed)
        return WarmStarted(warm_start(corpus, self.config, self.seed, report, self.device), content_hash(corpus))
