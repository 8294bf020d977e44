"""Where training begins: a policy that is warm-started in a worker process, or one as it is given."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
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
    config: PretrainedConfig | None = field(default=None, hash=False)
    """What it was before, if it was not made on the spot."""
    origin: dict[str, str] = field(default_factory=dict, hash=False)
    """What says exactly which weights it had before."""

    @property
    def key(self) -> str:
        """Equal for equal policies of a job."""
        return self.corpus

    def load(self, device: str) -> Policy:
        """The policy, on a device."""
        from gdpo_bench.agent.policy import Policy  # noqa: PLC0415 (imports torch)

        if self.config is not None:
            return Pretrained(replace(self.config, model=str(self.folder), revision=None)).load(device)
        return Policy.load(self.folder).to(device)


@dataclass(frozen=True)
class Pretrained:
    """A policy that is given."""

    config: PretrainedConfig

    @property
    def key(self) -> str:
        """Equal for equal policies of a job."""
        return content_hash(asdict(self.config))

    @property
    def origin(self) -> dict[str, str]:
        """What says exactly which weights they are."""
        from gdpo_bench.agent.policies.pretrained import origin  # noqa: PLC0415 (imports torch)

        return origin(self.config)

    def load(self, device: str) -> Policy:
        """The policy, on a device."""
        from gdpo_bench.agent.policies.pretrained import load_pretrained  # noqa: PLC0415 (imports torch)

        return load_pretrained(self.config, device)


@dataclass(frozen=True)
class WarmStartTask:
    """Let a policy imitate demonstrations, or find it in the cache."""

    envs: tuple[EnvChoice, ...]
    """Whose demonstrations."""
    config: EmbeddedConfig | PretrainedConfig
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
        from gdpo_bench.agent.policies.imitation import imitated  # noqa: PLC0415 (imports torch)
        from gdpo_bench.agent.policies.warm_start import (  # noqa: PLC0415
            build_corpus,
            demonstrated_turns,
            warm_start,
        )

        envs = {spec(choice.id).id: make_env(choice.id, **choice.options) for choice in self.envs}
        if isinstance(self.config, PretrainedConfig):
            turns = demonstrated_turns(envs, self.config.warm_start_examples, self.seed)
            folder = imitated(turns, self.config, self.seed, report, self.device)
            return WarmStarted(folder, content_hash(turns), self.config, Pretrained(self.config).origin)
        corpus = build_corpus(envs, self.config.warm_start_examples, self.seed)
        return WarmStarted(warm_start(corpus, self.config, self.seed, report, self.device), content_hash(corpus))
