"""Build the sandbox's image, from the public Python image or, where no registry answers, from Debian packages.

With numpy it is an image beside that one, and always from Debian packages, unless a base is named that has it.

The tag is a hash of what is in `image/`, so that a changed worker gets an image of its own and an unchanged one
costs a look. Two processes that build at once do the same work twice and end with the same tag: no lock is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import docker
import requests
from docker.errors import DockerException, ImageNotFound

from gdpo_sandbox.errors import ImageError

PUBLIC_BASE = "python:3.11-slim"
DEBIAN_BASE, DEBIAN_NUMPY_BASE = "gdpo-bench-sandbox-base:debian", "gdpo-bench-sandbox-base:debian-numpy"
DEBIAN_ROOTS = {DEBIAN_BASE: ("python3", "tzdata"), DEBIAN_NUMPY_BASE: ("python3", "tzdata", "python3-numpy")}
"""Of which packages the bases are made, beside what those depend on."""
REGISTRY_ANSWERS_S = 20.0
"""Seconds within which a pull must begin."""
PACKAGES = re.compile(r"(python3|lib(?!perl|atlas|blis|mkl|openblas)|zlib1g|tzdata|media-types)[^:]*")
"""Of all that those depend on, what can be part of a running Python. Of linear algebra only the reference libraries:
they start no threads, and say the same on every processor."""
ALTERNATIVE = re.compile(r"(\./usr/lib/[^/]+)/((?:blas|lapack)/(lib(?:blas|lapack)\.so\.3))")
"""A library that an installation links to where the loader looks: folder, path in it, and name."""
_STEP = re.compile(r"^ ---> ([0-9a-f]{12})$", re.MULTILINE)
"""An image that a build has made on its way, in what the engine says."""

IMAGE: Traversable = resources.files("gdpo_sandbox") / "image"
"""What the image is built from; part of the wheel."""

Say = Callable[[str], None]


def image_tag(numpy: bool = False) -> str:
    """Name and tag of the image that belongs to this version of the package, without or with numpy."""
    digest = hashlib.sha256()
    for name, content in _image_files():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return f"gdpo-bench-sandbox:{digest.hexdigest()[:16]}{'-numpy' if numpy else ''}"


def ensure_image(client: docker.DockerClient, say: Say | None = None, numpy: bool = False) -> str:
    """The image's tag; builds the image if the engine does not have it. See `build_image`.

    Raises:
        ImageError: It cannot be built; says what was tried.
    """
    tag = image_tag(numpy)
    return tag if _id(client, tag) else build_image(client, say=say, numpy=numpy)


def build_image(client: docker.DockerClient, base: str = "auto", say: Say | None = None, numpy: bool = False) -> str:
    """Build the image and return its tag.

    Args:
        client: Of the engine that is to have the image.
        base: "registry" for the public Python image; "debian" for a root made of Debian packages that apt on this
            machine downloads; "auto" for the first of the two that is there or can be had; or an image with Python
            3.11 or later and glibc, such as a mirror's.
        say: Receives a line a step.
        numpy: Whether programs can import numpy: Debian's, or that of a base that is named.

    Raises:
        ImageError: It cannot be built; says what was tried.
    """
    say = say or (lambda line: None)
    try:
        return _build(client, _find_base(client, base, say, numpy), say, numpy)
    except (DockerException, requests.RequestException) as error:
        raise ImageError(f"The image {image_tag(numpy)} cannot be built: {error}") from error


def _build(client: docker.DockerClient, base: str, say: Say, numpy: bool) -> str:
    """Build the image. Nothing of it stays without a name but what an engine keeps as its parents.

    Without the engine's cache, so that no other build uses an image that is removed here.
    """
    tag = image_tag(numpy)
    say(f"Building {tag} on {base}")
    kept = _id(client, base) or ""
    before = set()
    log: list[str] = []
    try:
        for line in client.api.build(
            fileobj=_context(),
            custom_context=True,
            tag=tag,
            buildargs={"BASE": base, "PACKAGES": "numpy" if numpy else ""},
            network_mode="none",
            nocache=True,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            log.append(line.get("stream", ""))
            if log[-1].startswith("Step "):
                before.add(_id(client, tag))  # each time, as another build may be done before this one
            if "error" in line:
                raise ImageError(f"Building {tag} on {base} failed: {line['error']}\n{''.join(log[-10:])}")
    finally:
        steps = [step for step in _STEP.findall("".join(log)) if not kept.startswith(f"sha256:{step}")]
        _remove_nameless(client, [*reversed(steps), *before])
    say(f"Built {tag}, {client.images.get(tag).attrs['Size'] / 1e6:.0f} MB")
    return tag


def remove_unfinished(client: docker.DockerClient) -> int:
    """Remove images without a name, an hour old at least, of builds that were interrupted; how many.

    Raises:
        DockerException: The engine does not answer.
    """
    pruned = client.images.prune(filters={"dangling": True, "label": "gdpo-bench=sandbox", "until": "1h"})
    return sum("Deleted" in image for image in pruned["ImagesDeleted"] or ())


def _remove_nameless(client: docker.DockerClient, identifiers: Iterable[str | None]) -> None:
    """Remove those of these images that have no name, and that nothing uses."""
    for identifier in filter(None, identifiers):
        with contextlib.suppress(DockerException, requests.RequestException):
            if not client.images.get(identifier).tags:
                client.images.remove(identifier)


def _id(client: docker.DockerClient, name: str) -> str | None:
    try:
        return str(client.images.get(name).id)
    except ImageNotFound:
        return None


def _find_base(client: docker.DockerClient, base: str, say: Say, numpy: bool) -> str:
    """Name of a base image that the engine has by now."""
    debian = DEBIAN_NUMPY_BASE if numpy else DEBIAN_BASE
    build = f"gdpo-bench sandbox build{' --numpy' if numpy else ''} --base"
    if base == "auto":
        choice = {debian: _import_debian} if numpy else {PUBLIC_BASE: _pull, debian: _import_debian}
        present = [name for name in choice if _id(client, name)]
        if present:
            return present[0]
        tried = []
        for name, get in choice.items():
            try:
                return get(client, say, name)
            except ImageError as error:
                tried.append(str(error))
        reach = "Name" if numpy else "Connect the engine to a registry, or name"
        advice = f"{reach} an image that it has: {build} NAME"
        raise ImageError("\n".join([f"There is no base for {image_tag(numpy)}.", *tried, advice]))
    if base == "debian":
        return _import_debian(client, say, debian)
    if base == "registry" and numpy:
        raise ImageError(f"{PUBLIC_BASE} has no numpy.\nUse Debian's, or name an image that has it: {build} NAME")
    name = PUBLIC_BASE if base == "registry" else base
    return name if _id(client, name) else _pull(client, say, name)


def _pull(client: docker.DockerClient, say: Say, name: str) -> str:
    """Pull `name`; a registry that does not begin to answer in time counts as absent."""
    say(f"Pulling {name}")
    began = threading.Event()
    failure: list[str] = []

    def pull() -> None:
        try:
            for line in client.api.pull(name, stream=True, decode=True):
                began.set()
                if "error" in line:
                    failure.append(line["error"])
        except (DockerException, requests.RequestException) as error:
            failure.append(str(error))
        began.set()

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    if not began.wait(REGISTRY_ANSWERS_S):
        raise ImageError(f"Pulling {name}: no answer from its registry in {REGISTRY_ANSWERS_S:.0f} s.")
    thread.join()
    if failure:
        raise ImageError(f"Pulling {name}: {failure[0]}")
    return name


def _import_debian(client: docker.DockerClient, say: Say, name: str) -> str:
    """Make a base of Debian's or Ubuntu's own packages, which apt on this machine downloads; needs no root."""
    missing = [tool for tool in ("apt-cache", "apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ImageError(f"Debian packages: {', '.join(missing)} not found; this works on Debian and Ubuntu only.")
    say("Downloading Debian packages")
    with tempfile.TemporaryDirectory() as folder:
        listing = _output("apt-cache", "depends", "--recurse", "--important", *DEBIAN_ROOTS[name])
        packages = sorted({line for line in listing.splitlines() if PACKAGES.fullmatch(line)})
        _output("apt-get", "download", "--option=APT::Sandbox::User=root", *packages, cwd=folder)
        root = Path(folder, "root.tar")
        _merge(sorted(Path(folder).glob("*.deb")), root)
        repository, tag = name.split(":")
        before = _id(client, name)
        client.api.import_image_from_file(str(root), repository=repository, tag=tag)
        _remove_nameless(client, [before])
    return name


def _merge(packages: list[Path], root: Path) -> None:
    """Write the files of all packages into one tar, with links as on an installed system.

    /lib and /lib64 are under /usr, and alternatives where the loader looks.
    """
    seen = set()

    def link(name: str, target: str) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, target
        tar.addfile(member)

    with tarfile.open(root, "w") as tar:
        for name in ("lib", "lib64"):
            link(f"./{name}", f"usr/{name}")
        for package in packages:
            unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True)
            with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as files:
                for member in files:
                    member.name = re.sub(r"^\./(?=lib(64)?(/|$))", "./usr/", member.name)
                    if member.name not in seen:  # folders come with every package
                        seen.add(member.name)
                        tar.addfile(member, files.extractfile(member) if member.isreg() else None)
                        if alternative := ALTERNATIVE.fullmatch(member.name):
                            folder, path, name = alternative.groups()
                            link(f"{folder}/{name}", path)


def _output(*command: str, cwd: str | None = None) -> str:
    """What a command prints.

    Raises:
        ImageError: It fails.
    """
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if run.returncode or not run.stdout.strip():
        raise ImageError(
            f"Debian packages: `{' '.join(command[:2])}` failed: {run.stderr.strip()[-500:]} Try `apt-get update`."
        )
    return run.stdout


def _image_files() -> Iterator[tuple[str, bytes]]:
    """Path within `image/` and content of each file there, in the order of their paths."""

    def walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_file():
                yield prefix + entry.name, entry.read_bytes()
            elif entry.name != "__pycache__":
                yield from walk(entry, f"{prefix}{entry.name}/")

    return walk(IMAGE, "")


def _context() -> io.BytesIO:
    """The files of the image as a tar, for the engine to build from."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in _image_files():
            member = tarfile.TarInfo(name)  # mode 644, time 0: the same bytes on every machine
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    context.seek(0)
    return context
