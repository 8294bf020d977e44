"""The image: what its tag stands for, what it is built from, and what is in it."""

import json
import os
import shutil
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from gdpo_sandbox import ImageError, building

LOOK_AROUND = """
import glob, importlib.metadata, importlib.util, json, os, stat, sysconfig, zoneinfo
for name in ("bz2", "ctypes", "curses", "decimal", "hashlib", "lzma", "sqlite3", "ssl", "uuid", "zlib"):
    importlib.import_module(name)
files = [os.path.join(folder, name) for top in ("/usr", "/opt") for folder, _, names in os.walk(top) for name in names]
compiled = {path: importlib.util.cache_from_source(path) for path in files if path.endswith(".py")}
print(json.dumps({
    "uncompiled": [path for path in compiled.values() if not os.path.exists(path)],
    "checked at import": [path for path in compiled.values() if open(path, "rb").read(8)[4:] != b"\\1\\0\\0\\0"],
    "privileged": [path for path in files if os.lstat(path).st_mode & (stat.S_ISUID | stat.S_ISGID)],
    "programs": [path for path in files if os.path.basename(os.path.dirname(path)) in ("bin", "sbin")],
    "filename": json.loads.__code__.co_filename,
    "packages": [package.name for package in importlib.metadata.distributions()],
    "time zone": str(zoneinfo.ZoneInfo("Asia/Tokyo")),
}))
"""


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
    except DockerException as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs a Docker engine: {error}")
    yield client
    client.close()


@pytest.fixture
def image_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the image's folder that the functions under test take for the real one."""
    folder = tmp_path / "image"
    shutil.copytree(str(building.IMAGE), folder)
    monkeypatch.setattr(building, "IMAGE", folder)
    return folder


def engine(pull: Any, *present: str) -> Any:
    """Stands for an engine that has some images and pulls as told."""

    def get(name: str) -> Any:
        if name not in present:
            raise ImageNotFound(name)
        return SimpleNamespace(id=name)

    return SimpleNamespace(images=SimpleNamespace(get=get), api=SimpleNamespace(pull=pull))


def unreachable(name: str, **options: object) -> Iterator[dict[str, str]]:
    yield {"error": "no such host"}


def no_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)


def test_the_image_with_numpy_is_another_one() -> None:
    assert building.image_tag(numpy=True) == f"{building.image_tag()}-numpy"
    present = engine(unreachable, building.image_tag(), building.image_tag(numpy=True))
    assert building.ensure_image(present, numpy=True) == building.image_tag(numpy=True)


@pytest.mark.parametrize("file", ["Dockerfile", "rootfs.py", "worker/__main__.py", "worker/new.py"])
def test_a_changed_or_new_file_changes_the_tag(image_copy: Path, file: str) -> None:
    before = building.image_tag()
    with (image_copy / file).open("a") as changed:
        changed.write("\n")
    assert building.image_tag() != before


def test_a_renamed_file_changes_the_tag_and_bytecode_does_not(image_copy: Path) -> None:
    before = building.image_tag()
    (image_copy / "worker" / "__pycache__").mkdir(exist_ok=True)
    (image_copy / "worker" / "__pycache__" / "more.pyc").write_bytes(b"x")
    assert building.image_tag() == before
    (image_copy / "rootfs.py").rename(image_copy / "other.py")
    assert building.image_tag() != before


def test_what_is_sent_to_the_engine_is_equal_on_every_machine(image_copy: Path) -> None:
    before = building._context().getvalue()
    for path in image_copy.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    assert building._context().getvalue() == before


def test_an_image_that_is_there_is_not_built() -> None:
    lines: list[str] = []
    assert building.ensure_image(engine(unreachable, building.image_tag()), lines.append) == building.image_tag()
    assert not lines


def test_a_base_that_is_there_is_not_pulled() -> None:
    for base in (building.PUBLIC_BASE, building.DEBIAN_BASE):
        assert building._find_base(engine(unreachable, base), "auto", print, numpy=False) == base
    present = engine(unreachable, building.PUBLIC_BASE, building.DEBIAN_BASE, building.DEBIAN_NUMPY_BASE)
    assert building._find_base(present, "auto", print, numpy=True) == building.DEBIAN_NUMPY_BASE
    for numpy in (False, True):
        mirror = "mirror/python:3"
        assert building._find_base(engine(unreachable, mirror), mirror, print, numpy) == mirror


def test_where_no_base_can_be_had_the_error_names_all_that_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    no_debian(monkeypatch)
    with pytest.raises(ImageError, match=r"(?s)python:3\.11-slim: no such host.*apt-get.*not found.*build --base"):
        building.ensure_image(engine(unreachable))


def test_numpy_comes_from_debian_or_a_base_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    no_debian(monkeypatch)
    present = engine(unreachable, building.image_tag(), building.PUBLIC_BASE, building.DEBIAN_BASE)
    with pytest.raises(ImageError, match=r"(?s)-numpy.*apt-get.*not found.*\nName an .* build --numpy --base NAME"):
        building.ensure_image(present, numpy=True)
    with pytest.raises(ImageError, match=r"(?s)has no numpy.*build --numpy --base NAME"):
        building.build_image(present, base="registry", numpy=True)


def test_of_debian_only_what_runs_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded: list[str] = []

    def output(*command: str, cwd: str | None = None) -> str:
        if command[0] == "apt-get":
            downloaded.extend(name for name in command if not name.startswith("-"))
            raise ImageError("enough")
        assert ("python3-numpy" in command) == numpy
        return """python3
  Depends: libc6
 |Depends: libblas3
  Depends: <libblas.so.3>
libc6
debconf
perl-base
libperl5
python3:any
libblas3
liblapack3
libatlas3-base
libblis4-serial
libmkl-rt
libopenblas0-pthread
"""

    monkeypatch.setattr(shutil, "which", lambda tool: tool)
    monkeypatch.setattr(building, "_output", output)
    for numpy in (False, True):
        downloaded.clear()
        with pytest.raises(ImageError, match="enough"):
            building.build_image(engine(unreachable), base="debian", numpy=numpy)
        assert downloaded == ["apt-get", "download", "libblas3", "libc6", "liblapack3", "python3"]


def test_only_the_base_that_was_asked_for_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    no_debian(monkeypatch)
    with pytest.raises(ImageError, match="Debian and Ubuntu only"):
        building.build_image(engine(unreachable, building.PUBLIC_BASE), base="debian")
    with pytest.raises(ImageError, match="no such host"):
        building.build_image(engine(unreachable, building.DEBIAN_BASE), base="registry")


def test_a_registry_that_does_not_answer_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def silent(name: str, **options: object) -> Iterator[dict[str, str]]:
        released.wait(60)
        yield {"status": "too late"}

    monkeypatch.setattr(building, "REGISTRY_ANSWERS_S", 0.05)
    with pytest.raises(ImageError, match="no answer"):
        building.build_image(engine(silent), base="registry")
    released.set()


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_become_one_root_with_libraries_under_usr_and_where_the_loader_looks(tmp_path: Path) -> None:
    for name, path in (
        ("a", "lib/x86/liba.so"),
        ("b", "usr/lib/x86/libb.so"),
        ("c", "usr/lib/x86/blas/libblas.so.3"),
        ("d", "usr/lib/x86/lapack/liblapack.so.3"),
    ):
        for file, text in (
            (path, name),
            ("DEBIAN/control", f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: n\nDescription: d\n"),
        ):
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        subprocess.run(["dpkg-deb", "--build", tmp_path / name, tmp_path / f"{name}.deb"], check=True)
    building._merge(sorted(tmp_path.glob("*.deb")), tmp_path / "root.tar")
    with tarfile.open(tmp_path / "root.tar") as tar:
        names = tar.getnames()
        assert len(names) == len(set(names))
        assert {"./usr/lib/x86/liba.so", "./usr/lib/x86/libb.so"} <= set(names)
        assert tar.getmember("./lib").linkname == "usr/lib"
        for name in ("blas", "lapack"):
            library = tar.getmember(f"./usr/lib/x86/lib{name}.so.3")
            content = tar.extractfile(library)  # follows the link
            assert library.issym()
            assert content is not None
            assert content.read().decode() == {"blas": "c", "lapack": "d"}[name]


NUMPY = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="numpy's image is made of Debian packages"),
]


@pytest.mark.parametrize(("numpy", "most_mb"), [(False, 60), pytest.param(True, 90, marks=NUMPY)])
def test_the_image_is_small_compiled_and_holds_no_program_but_python(
    client: docker.DockerClient, numpy: bool, most_mb: int
) -> None:
    tag = building.ensure_image(client, print, numpy)
    assert client.images.get(tag).attrs["Size"] < most_mb * 1e6
    output = client.containers.run(
        tag, ["-c", LOOK_AROUND], entrypoint="python3", network_mode="none", remove=True, read_only=True
    )
    seen = json.loads(output)
    assert seen["uncompiled"] == seen["checked at import"] == seen["privileged"] == []
    assert all("python3" in program for program in seen["programs"])
    assert not seen["filename"].startswith("/rootfs")
    assert seen["time zone"] == "Asia/Tokyo"
    assert seen["packages"] == (["numpy"] if numpy else [])


def test_a_build_that_fails_says_what_the_engine_said(client: docker.DockerClient, image_copy: Path) -> None:
    building.ensure_image(client)
    with (image_copy / "Dockerfile").open("a") as dockerfile:
        dockerfile.write('RUN ["python3", "-c", "raise SystemExit(\'on purpose\')"]\n')
    with pytest.raises(ImageError, match="on purpose"):
        building.build_image(client)


SMALL = """
ARG BASE
FROM ${{BASE}} AS base
LABEL of={label}
COPY rootfs.py /
FROM scratch
COPY --from=base /rootfs.py /
LABEL of={label}
COPY worker /opt/sandbox/worker
"""


@pytest.fixture
def small(client: docker.DockerClient, image_copy: Path) -> Iterator[Callable[[], set[str]]]:
    """A small image in the place of the real one; lists what there is of it without a name."""
    building.ensure_image(client)
    label = f"of={uuid.uuid4().hex}"
    (image_copy / "Dockerfile").write_text(SMALL.format(label=label[3:]))

    def nameless() -> set[str]:
        return {image.id for image in client.images.list(filters={"dangling": True, "label": label})}

    yield nameless
    for image in client.images.list(filters={"label": label}):
        client.images.remove(image.id, force=True)


def test_a_build_leaves_no_image_without_a_name_nor_does_one_in_its_place(
    client: docker.DockerClient, small: Callable[[], set[str]]
) -> None:
    tag = building.build_image(client)
    first = client.images.get(tag).id
    assert small() == set()
    assert building.build_image(client) == tag
    assert client.images.get(tag).id != first, "else nothing has lost its name"
    assert small() == set()


def test_a_build_that_fails_leaves_none_either(
    client: docker.DockerClient, small: Callable[[], set[str]], image_copy: Path
) -> None:
    with (image_copy / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("COPY nothing /\n")
    with pytest.raises(ImageError, match="nothing"):
        building.build_image(client)
    assert small() == set()


def test_builds_at_one_time_disturb_each_other_in_nothing(
    client: docker.DockerClient, small: Callable[[], set[str]]
) -> None:
    with ThreadPoolExecutor(3) as threads:
        (tag,) = set(threads.map(lambda _: building.build_image(client), range(3)))
    assert client.images.get(tag).tags == [tag]
    assert len(small()) <= 2, "named by two builds within a moment"
