"""Fixtures that several test folders share."""

import importlib
import os
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from gdpo_sandbox import EngineError, Limits
from platformdirs import user_cache_path

if TYPE_CHECKING:
    import docker
    from gdpo_sandbox import SandboxPool

# Data lie in the folder that GDPO_BENCH_DATA names, or nowhere: else each test would ask the hub for half a minute.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Workers of pytest-xdist ignore Ctrl-C, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    folder = os.environ.get("GDPO_BENCH_DATA")
    if not folder:
        pytest.skip("needs real data: set GDPO_BENCH_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def policy_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of warm-started policies of this test session alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDPO_BENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_models() -> Path:
    """A cache that all test runs share, with SmolLM2 in it; tests that need it are skipped offline, but fail in CI."""
    from gdpo_bench.agent.policies.gguf import gguf_folder
    from gdpo_bench.core import DataError

    folder = Path(os.environ.get("GDPO_BENCH_TEST_CACHE") or user_cache_path("gdpo-bench-tests"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDPO_BENCH_CACHE", str(folder))
        try:
            gguf_folder("package:smollm2")
        except DataError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
    return folder


@pytest.fixture
def smollm2(real_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SmolLM2, in a cache of this test alone but for it, so that warm starts, which are large, go with the test."""
    from gdpo_bench.agent.policies.gguf import gguf_folder

    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "gguf").symlink_to(real_models / "gguf")
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(cache))
    return gguf_folder("package:smollm2")


@pytest.fixture(scope="session")
def engine() -> "docker.DockerClient":
    """A Docker engine; tests that need one are skipped where there is none, but fail in CI."""
    from gdpo_sandbox.engine import connect

    try:
        return connect()
    except EngineError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs a Docker engine: {error}")


@pytest.fixture(scope="session")
def pool(engine: "docker.DockerClient") -> Iterator["SandboxPool"]:
    """A sandbox of two slots, with two seconds of CPU for a test."""
    from gdpo_sandbox import SandboxPool

    with SandboxPool(slots=2, limits=Limits(cpu_s=2)) as sandbox:
        yield sandbox


@pytest.fixture
def author_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that sees all packages of this one; others may be installed into it."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return folder / "bin" / "python"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script of benchmarks/ by its name, as it imports its neighbours when it is run."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module


@pytest.fixture
def typed(tmp_path: Path) -> Callable[[str], str]:
    """What commands print that somebody types into bash, in an empty folder, with this Python's environment active."""

    def run(commands: str) -> str:
        # The command may not be installed, where the package is only on the path.
        script = 'set -e\ngdpo-bench() { python -m gdpo_bench "$@"; }\n' + commands
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def refused_without() -> Callable[[str, str], str]:
    """How an environment's id is refused where a package is missing."""

    def refusal(package: str, env_id: str) -> str:
        program = (
            f"import sys; sys.modules[{package!r}] = None\n"
            "from gdpo_bench.core import GdpoBenchError, make_env\nimport gdpo_bench\n"
            f"try: make_env({env_id!r})\n"
            "except GdpoBenchError as error: print(error)"
        )
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    return refusal
